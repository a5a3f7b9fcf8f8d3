//! What a server gives out and a client brings back: the state of a call that asked for input, and the ids of tasks.

use spanwire_mcp::{Json, Revision};
use spanwire_model::ErrorKind;
use spanwire_policy::{Policy, PrincipalConfig};

use super::{
    script::Script,
    world::{Node, Request, Setup, World},
};

/// A client that can handle tasks.
const DECLARED: &str =
    r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

/// The text of a member of a result.
fn text(result: &str, key: &str) -> String {
    Json::from_trusted(result.to_owned()).get(key).unwrap_or_else(|| panic!("no {key} in {result}")).read().unwrap()
}

/// Ann and Bob may do everything.
fn two() -> Policy {
    let everything = || vec!["*".to_owned()];
    let principal = |name: &str| PrincipalConfig {
        name: name.into(),
        tokens: Vec::new(),
        tools: everything(),
        prompts: everything(),
        resources: everything(),
        views: everything(),
    };
    Policy::new(&[principal("ann"), principal("bob")])
}

/// Calls the tool that asks for input.
fn first<'a>(node: &'a Node, arguments: &str) -> Request<'a> {
    node.request("tools/call", format!(r#"{{"name":"fs__ask","arguments":{arguments}}}"#))
}

/// Brings the input.
fn retry<'a>(node: &'a Node, state: &str, arguments: &str) -> Request<'a> {
    let params = format!(
        r#"{{"name":"fs__ask","arguments":{arguments},"requestState":"{state}","inputResponses":{{"a":{{"roots":[]}}}}}}"#
    );
    node.request("tools/call", params)
}

#[tokio::test]
async fn a_retry_brings_the_server_its_own_state_from_whichever_node() {
    for revision in [Revision::CANONICAL, Revision::V2025_11_25] {
        let fs = Script::new("fs", &["ask"]);
        fs.speaks(revision);
        let world = World::new();
        let (a, b) = (world.start("a", Setup::of(&[&fs])).await, world.start("b", Setup::of(&[])).await);
        a.ready("fs", "a").await;
        b.ready("fs", "a").await;
        for (asks, answers) in [(&a, &a), (&a, &b), (&b, &a), (&b, &b)] {
            let asked = first(asks, r#"{"x":1,"y":2}"#).ok().await;
            let state = text(&asked, "requestState");
            assert!(asked.contains(r#""inputRequests":{"a":{"method":"roots/list"}}"#), "{asked}");
            assert!(!state.contains("mine"), "{state}");
            let answer = retry(answers, &state, r#"{ "y":2, "x":1 }"#).ok().await;
            assert!(answer.contains(r#""requestState":"mine","inputResponses":{"a":{"roots":[]}}"#), "{answer}");
        }
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test]
async fn a_state_serves_nobody_else_and_nothing_else() {
    let fs = Script::new("fs", &["ask", "echo"]);
    let node = World::new().start("a", Setup { policy: two(), ..Setup::of(&[&fs]) }).await;
    node.ready("fs", "a").await;
    let state = text(&first(&node, r#"{"x":1}"#).by("ann").ok().await, "requestState");
    let calls = fs.seen.borrow().calls.len();
    let changed = state.replace(".state.", ".parked.");
    let elsewhere = state.replace(".a.", ".c.");
    let other_tool =
        node.request("tools/call", format!(r#"{{"name":"fs__echo","arguments":{{"x":1}},"requestState":"{state}"}}"#));
    for (what, request) in [
        ("another principal", retry(&node, &state, r#"{"x":1}"#).by("bob")),
        ("other arguments", retry(&node, &state, r#"{"x":2}"#).by("ann")),
        ("another tool", other_tool.by("ann")),
        ("forged", retry(&node, &state[..state.len() - 2], r#"{"x":1}"#).by("ann")),
        ("another kind", retry(&node, &changed, r#"{"x":1}"#).by("ann")),
        ("another node", retry(&node, &elsewhere, r#"{"x":1}"#).by("ann")),
        ("nothing of ours", retry(&node, "mine", r#"{"x":1}"#).by("ann")),
    ] {
        let error = request.outcome().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{what}: {error}");
        assert!(error.public.starts_with("requestState cannot be used"), "{what}: {error}");
    }
    assert_eq!(fs.seen.borrow().calls.len(), calls, "nothing of it reached the server");
    assert!(retry(&node, &state, r#"{"x":1}"#).by("ann").outcome().await.is_ok());
    node.stop().await;
}

#[tokio::test]
async fn a_parked_call_is_lost_with_its_node_and_a_state_is_not() {
    let fs = Script::new("fs", &["ask"]);
    for (revision, secret, lost) in
        [(Revision::V2025_11_25, true, true), (Revision::CANONICAL, true, false), (Revision::CANONICAL, false, true)]
    {
        fs.speaks(revision);
        let world = World::new();
        let common: fn(&mut spanwire_router::Config) = |config| config.seal_secret = b"common".to_vec();
        let setup = || Setup { router: if secret { common } else { |_| {} }, ..Setup::of(&[&fs]) };
        let (a, b) = (world.start("a", setup()).await, world.start("b", setup()).await);
        a.ready("fs", "a").await;
        b.entry("fs", "a", |_| true).await;
        b.ready("fs", "b").await;
        let state = text(&first(&a, "{}").ok().await, "requestState");
        // While its node lives it is found there, although the other one has the server too.
        assert!(retry(&b, &state, "{}").outcome().await.is_ok(), "{revision} {secret}");
        a.stop().await;
        b.until("alone", |inventory| inventory.nodes.len() == 1).await;
        let outcome = retry(&b, &state, "{}").outcome().await;
        assert_eq!(outcome.is_err(), lost, "{revision} {secret}: {outcome:?}");
        if revision != Revision::CANONICAL {
            assert_eq!(outcome.unwrap_err().kind, ErrorKind::StreamLost);
        }
        b.stop().await;
    }
}

#[tokio::test]
async fn a_task_is_found_again_by_whom_it_was_given_to() {
    let fs = Script::new("fs", &["work"]);
    let world = World::new();
    let a = world.start("a", Setup { policy: two(), ..Setup::of(&[&fs]) }).await;
    let b = world.start("b", Setup { policy: two(), ..Setup::of(&[]) }).await;
    a.ready("fs", "a").await;
    b.entry("fs", "a", |_| true).await;
    let id = text(&a.tool("fs__work").by("ann").ok().await, "taskId");
    let undeclared = a.request("tasks/get", format!(r#"{{"taskId":"{id}"}}"#)).by("ann").outcome().await.unwrap_err();
    assert_eq!(undeclared.json_rpc_code(), -32021);
    assert!(undeclared.data.unwrap().as_str().contains("requiredCapabilities"));
    for node in [&a, &b] {
        let found = node.request("tasks/get", format!(r#"{{"taskId":"{id}",{DECLARED}}}"#)).by("ann").ok().await;
        assert_eq!(text(&found, "taskId"), id);
        for (who, which) in [("bob", id.as_str()), ("ann", "mine"), ("ann", &id[..id.len() - 3])] {
            let unknown = node
                .request("tasks/get", format!(r#"{{"taskId":"{which}",{DECLARED}}}"#))
                .by(who)
                .outcome()
                .await
                .unwrap_err();
            assert_eq!(unknown.kind, ErrorKind::InvalidParams);
            assert!(unknown.public.starts_with("unknown task"), "{unknown}");
        }
    }
    assert!(
        fs.seen.borrow().calls.iter().filter(|call| call.params.get("taskId").is_some()).all(|call| call
            .params
            .get("taskId")
            .unwrap()
            .as_str()
            == "\"mine\"")
    );
    a.stop().await;
    b.stop().await;
}
