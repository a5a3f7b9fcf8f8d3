//! `subscriptions/listen`: told of what changed for the listener, and of nothing else.

use futures::StreamExt;
use spanwire_mcp::Method;
use spanwire_model::{ErrorKind, Event, Reply, ServerSpec};
use spanwire_policy::Policy;
use tokio::time::timeout;

use super::{
    script::{PATIENCE, Script},
    world::{Node, Setup, World, next, only_tools, running},
};

const EVERYTHING: &str =
    r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":true}}"#;
const UPDATES: &str = r#"{"notifications":{"resourceSubscriptions":["fs+file:///a"]}}"#;

/// The next notification, as its method and params.
async fn heard(reply: &mut Reply) -> String {
    match next(reply).await {
        Event::Notification(note) => {
            format!("{} {}", note.method, note.params.as_ref().map_or("", |params| params.as_str()))
        }
        other => panic!("{other:?}"),
    }
}

async fn listen(node: &Node, who: &str, params: &str) -> (Reply, String) {
    let mut reply = node.request("subscriptions/listen", params).by(who).send();
    let first = heard(&mut reply).await;
    (reply, first)
}

#[tokio::test]
async fn the_honoured_filter_comes_first() {
    let fs = Script::new("fs", &["echo"]);
    let node = World::new().start("a", Setup { policy: only_tools("ci", &["*"]), ..Setup::of(&[&fs]) }).await;
    node.ready("fs", "a").await;
    let params = r#"{"notifications":{"toolsListChanged":true,"future":1,
        "resourceSubscriptions":["fs+file:///a","git+file:///b","file:///c"]}}"#;
    let (reply, first) = listen(&node, "ci", params).await;
    assert_eq!(
        first,
        r#"notifications/subscriptions/acknowledged {"notifications":{"toolsListChanged":true,"resourceSubscriptions":["fs+file:///a"]}}"#
    );
    let (_, first) = listen(&node, "operator", r#"{"notifications":{}}"#).await;
    assert_eq!(first, r#"notifications/subscriptions/acknowledged {"notifications":{}}"#);
    assert!(node.request("subscriptions/listen", "{}").by("ci").outcome().await.is_err());
    let many = ["\"fs+x:\""; 11].join(",");
    let many = format!(r#"{{"notifications":{{"resourceSubscriptions":[{many}]}}}}"#);
    assert!(node.request("subscriptions/listen", many).by("ci").outcome().await.is_err());
    drop(reply);
    assert_eq!(node.router.in_flight(), 0);
    node.stop().await;
}

#[tokio::test]
async fn tasks_are_listened_to_by_those_who_declare_them() {
    let fs = Script::new("fs", &["echo"]);
    let node = World::new().start("a", Setup { policy: only_tools("ci", &["*"]), ..Setup::of(&[&fs]) }).await;
    node.ready("fs", "a").await;
    let filter = r#""notifications":{"toolsListChanged":true,"taskIds":["nobodys"]}"#;
    let undeclared = node.request("subscriptions/listen", format!("{{{filter}}}")).by("ci").outcome().await;
    let error = undeclared.unwrap_err();
    assert_eq!((error.kind, error.json_rpc_code()), (ErrorKind::MissingCapability, -32021));
    let needed = r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;
    assert_eq!(error.data.unwrap().as_str(), needed);
    let capabilities =
        r#""io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    let (_reply, first) = listen(&node, "ci", &format!(r#"{{{filter},"_meta":{{{capabilities}}}}}"#)).await;
    // A task that is not the caller's is not honoured.
    assert_eq!(first, r#"notifications/subscriptions/acknowledged {"notifications":{"toolsListChanged":true}}"#);
    node.stop().await;
}

#[tokio::test]
async fn only_a_change_of_what_is_visible_is_heard() {
    let fs = Script::new("fs", &["echo"]);
    let node = World::new()
        .start("a", Setup { policy: only_tools("ci", &["fs__echo", "fs__add"]), ..Setup::of(&[&fs]) })
        .await;
    node.ready("fs", "a").await;
    let (mut reply, _) = listen(&node, "ci", EVERYTHING).await;
    let (mut all, _) = listen(&node, "operator", EVERYTHING).await;
    // A tool that `ci` may not see: only the operator hears of it.
    fs.change_tools(&["echo", "secret"]).await;
    let entry = node.entry("fs", "a", |entry| entry.listing.tools.len() == 2).await;
    assert_eq!(entry.listing.tools.len(), 2);
    assert_eq!(heard(&mut all).await, "notifications/tools/list_changed ");
    assert!(futures::poll!(reply.next()).is_pending());
    fs.change_tools(&["echo", "secret", "add"]).await;
    assert_eq!(heard(&mut reply).await, "notifications/tools/list_changed ");
    assert_eq!(heard(&mut all).await, "notifications/tools/list_changed ");
    assert!(futures::poll!(reply.next()).is_pending());
    // A new policy changes what is visible, too.
    node.router.set_policy(only_tools("ci", &["fs__echo"]));
    assert_eq!(heard(&mut reply).await, "notifications/tools/list_changed ");
    assert!(futures::poll!(all.next()).is_pending());
    // Whoever did not ask for tools hears nothing of them.
    let (mut other, _) = listen(&node, "operator", r#"{"notifications":{"promptsListChanged":true}}"#).await;
    fs.change_tools(&["echo"]).await;
    assert_eq!(heard(&mut all).await, "notifications/tools/list_changed ");
    assert!(futures::poll!(other.next()).is_pending());
    drop((reply, all, other));
    node.stop().await;
}

#[tokio::test]
async fn updates_come_from_either_node_and_again_after_a_restart() {
    let fs = Script::new("fs", &["hang"]);
    let world = World::new();
    // The limit for calls is none for a subscription.
    let spec = ServerSpec { call_timeout_ms: Some(30), ..fs.spec() };
    let (a, b) = (
        world.start("a", Setup::of(&[])).await,
        world.start("b", Setup { specs: vec![spec], ..Setup::of(&[&fs]) }).await,
    );
    b.ready("fs", "b").await;
    a.ready("fs", "b").await;
    let mut replies = vec![listen(&a, "anonymous", UPDATES).await.0, listen(&b, "anonymous", UPDATES).await.0];
    let own = b.request("subscriptions/listen", UPDATES.replace("fs+", "")).through("fs").send();
    replies.push(own);
    assert!(heard(&mut replies[2]).await.contains("acknowledged"));
    for round in 0..2 {
        // The streams are driven by whoever listens.
        let mut merged = futures::stream::select_all(replies.drain(..));
        tokio::select! {
            event = merged.next() => panic!("{event:?}"),
            _ = fs.until("subscribed", |seen| seen.calls.len() == 3 * (round + 1) + round) => {}
        }
        // A call that began later runs into the limit.
        let call = running(b.tool("fs__hang").send());
        tokio::select! {
            event = merged.next() => panic!("{event:?}"),
            outcome = call => assert_eq!(outcome.unwrap().unwrap_err().kind, ErrorKind::DeadlineExceeded),
        }
        fs.update("file:///a");
        let mut heard = Vec::new();
        for _ in 0..3 {
            let event = timeout(PATIENCE, merged.next()).await.expect("no update in time");
            let Some(Event::Notification(note)) = event else { panic!("{event:?}") };
            assert_eq!(note.method, Method::ResourceUpdated);
            heard.push(note.params.unwrap().as_str().to_owned());
        }
        heard.sort();
        assert_eq!(heard, [r#"{"uri":"file:///a"}"#, r#"{"uri":"fs+file:///a"}"#, r#"{"uri":"fs+file:///a"}"#]);
        replies = merged.into_iter().collect();
        if round == 0 {
            fs.die().await;
            // Nobody polls meanwhile: the end and the return of the server are heard at once.
            b.entry("fs", "b", |entry| entry.health.restarts == 1 && entry.health.state.is_callable()).await;
            a.entry("fs", "b", |entry| entry.health.restarts == 1 && entry.health.state.is_callable()).await;
        }
    }
    let cancelled = fs.seen.borrow().cancelled;
    drop(replies);
    fs.until("let go", |seen| seen.cancelled == cancelled + 3).await;
    assert_eq!((a.router.in_flight(), b.router.in_flight(), b.registry.in_flight()), (0, 0, 0));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn a_stream_ends_gracefully_with_its_node() {
    let fs = Script::new("fs", &["echo"]);
    let node = World::new().start("a", Setup { policy: Policy::open(), ..Setup::of(&[&fs]) }).await;
    node.ready("fs", "a").await;
    let (mut reply, _) = listen(&node, "anonymous", EVERYTHING).await;
    node.router.shutdown(PATIENCE).await;
    let Event::Done(Ok(result)) = next(&mut reply).await else { panic!() };
    assert_eq!(result.as_str(), r#"{"resultType":"complete"}"#);
    node.stop().await;
}
