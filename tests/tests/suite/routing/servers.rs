//! The servers of one node: started, listed, restarted, replaced, removed.

use std::{sync::Arc, time::Duration};

use spanwire_mcp::{Era, Method, Revision};
use spanwire_model::{ErrorKind, HttpTarget, Notice, ServerSpec, ServerState, Shard, Target, View};
use spanwire_registry::store::MemoryStore;
use tokio::time::{Instant, timeout};

use super::{
    script::{Connect, PATIENCE, Script},
    world::{Setup, World, names, running},
};

#[tokio::test]
async fn a_server_that_cannot_be_connected_is_down_and_comes_up_later() {
    let fs = Script::new("fs", &["echo"]);
    fs.connects([Connect::Fails, Connect::Fails]);
    let setup = Setup {
        registry: |config| {
            (config.backoff_min, config.backoff_max) = (Duration::from_millis(50), Duration::from_millis(50))
        },
        ..Setup::of(&[&fs])
    };
    let node = World::new().start("a", setup).await;
    let down = node.entry("fs", "a", |entry| entry.health.state == ServerState::Down).await;
    assert_eq!(down.health.detail.as_deref(), Some("the door is locked"));
    let ready = node.ready("fs", "a").await;
    assert_eq!((ready.health.state, ready.health.restarts), (ServerState::Ready, 2));
    assert_eq!(ready.health.detail, None);
    assert!(
        node.telemetry
            .metrics()
            .encode_openmetrics()
            .contains(r#"spanwire_server_restarts_total{spanwire_server="fs"} 2"#)
    );
    node.stop().await;
}

#[tokio::test]
async fn an_idle_server_that_is_no_child_is_asked_whether_it_is_there() {
    let docs = Script::new("docs", &["echo"]);
    let http = HttpTarget { url: "http://127.0.0.1:1/mcp".into(), ..HttpTarget::default() };
    let spec = ServerSpec { target: Target::Http(http), ..docs.spec() };
    let fs = Script::new("fs", &["echo"]);
    let setup = Setup {
        registry: |config| config.probe = Duration::from_millis(20),
        specs: vec![spec, fs.spec()],
        ..Setup::of(&[&docs, &fs])
    };
    let node = World::new().start("a", setup).await;
    let seen = docs.until("probed twice", |seen| seen.calls.len() >= 2).await;
    assert!(seen.calls.iter().all(|call| call.method == Method::Discover));
    node.ready("fs", "a").await;
    assert!(fs.seen.borrow().calls.is_empty(), "a child's end is seen without asking");
    node.stop().await;
}

#[tokio::test]
async fn a_connector_that_never_returns_is_given_up() {
    let fs = Script::new("fs", &["echo"]);
    fs.connects([Connect::Hangs]);
    let setup = Setup { registry: |config| config.connect_timeout = Duration::from_millis(40), ..Setup::of(&[&fs]) };
    let node = World::new().start("a", setup).await;
    let down = node.entry("fs", "a", |entry| entry.health.state == ServerState::Down).await;
    assert!(down.health.detail.as_ref().unwrap().contains("not ready within 40 ms"), "{down:?}");
    node.ready("fs", "a").await;
    node.stop().await;
}

#[tokio::test]
async fn a_lost_connection_keeps_the_last_listing_until_there_is_a_new_one() {
    let fs = Script::new("fs", &["echo"]);
    let node = World::new().start("a", Setup::of(&[&fs])).await;
    node.ready("fs", "a").await;
    fs.connects([Connect::Hangs]);
    fs.die().await;
    let starting =
        node.entry("fs", "a", |entry| entry.health.restarts == 1 && entry.health.state == ServerState::Starting).await;
    assert_eq!(starting.listing.tools.len(), 1);
    assert!(starting.facts.is_some());
    assert!(node.registry.attached(&"fs".parse().unwrap()).is_none());
    let error = node.tool("fs__echo").outcome().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    let list = node.request("tools/list", "{}").ok().await;
    assert!(list.contains(r#""spanwire/stale":true"#), "{list}");
    node.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_while_it_is_listed_keeps_what_was_known() {
    let fs = Script::new("fs", &["echo"]);
    let node = World::new().start("a", Setup::of(&[&fs])).await;
    node.ready("fs", "a").await;
    let lists = fs.seen.borrow().lists;
    fs.lists_hang();
    fs.connects([Connect::Hangs]);
    fs.say(Notice::ToolsChanged).await;
    fs.until("listed", |seen| seen.lists > lists).await;
    fs.die().await;
    let entry = node.entry("fs", "a", |entry| entry.health.restarts == 1).await;
    assert_eq!(entry.listing.tools.len(), 1);
    node.stop().await;
}

#[tokio::test]
async fn a_list_that_hangs_costs_a_complaint_and_not_the_known_entries() {
    let fs = Script::new("fs", &["echo"]);
    let setup = Setup { registry: |config| config.list.timeout = Duration::from_millis(50), ..Setup::of(&[&fs]) };
    let node = World::new().start("a", setup).await;
    node.ready("fs", "a").await;
    fs.lists_hang();
    fs.say(Notice::ToolsChanged).await;
    let entry = node.entry("fs", "a", |entry| entry.health.state == ServerState::Degraded).await;
    assert!(entry.health.detail.as_ref().unwrap().contains("tools/list did not answer within 50 ms"));
    assert_eq!((entry.listing.tools.len(), entry.listing.ttl_ms), (1, 0));
    node.stop().await;
}

#[tokio::test]
async fn a_dead_server_is_not_called_while_its_remains_are_cleared_away() {
    let fs = Script::new("fs", &["echo"]);
    let node = World::new().start("a", Setup::of(&[&fs])).await;
    node.ready("fs", "a").await;
    fs.close_hangs();
    fs.die().await;
    fs.until("closed", |seen| seen.closed == 1).await;
    // Closing is given ten seconds.
    let down = node.entry("fs", "a", |entry| entry.health.state == ServerState::Down);
    timeout(Duration::from_secs(7), down).await.unwrap();
    assert!(node.registry.attached(&"fs".parse().unwrap()).is_none());
    // Nor does the close that hangs hold up the shutdown.
    node.router.shutdown(PATIENCE).await;
    timeout(Duration::from_secs(5), node.registry.shutdown(Duration::from_millis(50))).await.unwrap();
}

#[tokio::test]
async fn changes_that_come_together_make_one_listing() {
    let fs = Script::new("fs", &["echo"]);
    let node = World::new().start("a", Setup::of(&[&fs])).await;
    node.ready("fs", "a").await;
    let (version, lists) = (node.registry.inventory().version, fs.seen.borrow().lists);
    fs.set_tools(&["echo", "add"]);
    for _ in 0..5 {
        fs.say(Notice::ToolsChanged).await;
    }
    node.entry("fs", "a", |entry| entry.listing.tools.len() == 2).await;
    assert!(node.registry.inventory().version > version);
    assert_eq!(fs.seen.borrow().lists, lists + 1, "only the tools, and once");
    assert_eq!(names(&node.request("tools/list", "{}").ok().await, "tools", "name"), ["fs__echo", "fs__add"]);
    node.stop().await;
}

#[tokio::test]
async fn servers_are_added_replaced_and_removed() {
    let (fs, git) = (Script::new("fs", &["echo", "hang"]), Script::new("git", &["log"]));
    let node = World::new().start("a", Setup::without_servers(&[&fs, &git])).await;
    node.registry.add(fs.spec(), None, false).await.unwrap();
    node.ready("fs", "a").await;
    let error = node.registry.add(fs.spec(), None, false).await.unwrap_err();
    assert_eq!(
        (error.kind, &*error.public),
        (ErrorKind::Conflict, "server \"fs\" exists already: remove it first, or replace it")
    );
    node.registry.add(git.spec(), None, false).await.unwrap();
    node.ready("git", "a").await;
    node.registry.add(fs.spec(), None, true).await.unwrap();
    fs.until("replaced", |seen| seen.connects.len() == 2 && seen.closed == 1).await;
    node.ready("fs", "a").await;

    // Removed while a call runs: the call ends, nothing can be called any more, not even for an instant.
    let call = running(node.tool("fs__hang").send());
    fs.until("called", |seen| seen.calls.len() == 1).await;
    assert!(node.registry.remove(&"fs".parse().unwrap()).await.unwrap());
    assert!(node.registry.attached(&"fs".parse().unwrap()).is_none());
    let error = timeout(PATIENCE, call).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::StreamLost);
    let inventory = node.until("removed", |inventory| inventory.servers.len() == 1).await;
    node.catalog(inventory.version).await;
    let error = node.tool("fs__echo").outcome().await.unwrap_err();
    assert!(error.public.starts_with("unknown tool"), "{error}");
    assert!(!node.registry.remove(&"fs".parse().unwrap()).await.unwrap());
    node.stop().await;
}

#[tokio::test]
async fn whoever_waits_for_a_server_that_is_removed_is_told() {
    let fs = Script::new("fs", &["hang"]);
    let node = World::new().start("a", Setup { specs: vec![], ..Setup::of(&[&fs]) }).await;
    node.registry.add(spanwire_model::ServerSpec { max_in_flight: Some(1), ..fs.spec() }, None, false).await.unwrap();
    node.ready("fs", "a").await;
    let attached = node.registry.attached(&"fs".parse().unwrap()).unwrap();
    let anyone: Arc<str> = "anyone".into();
    let _slot = attached.slot(&anyone).await.unwrap();
    let waiting = tokio::spawn({
        let attached = attached.clone();
        async move { attached.slot(&anyone).await }
    });
    tokio::task::yield_now().await;
    node.registry.remove(&"fs".parse().unwrap()).await.unwrap();
    let error = timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap_err();
    assert_eq!((error.kind, &*error.public), (ErrorKind::Unavailable, "server \"fs\" is being removed"));
    node.stop().await;
}

#[tokio::test]
async fn stored_servers_come_back_and_secrets_are_never_stored() {
    let fs = Script::new("fs", &["echo"]);
    let store = Arc::new(MemoryStore::default());
    let folder = tempfile::tempdir().unwrap();
    let ledger = super::world::ledger_in(folder.path()).await;
    let setup = |script: &Arc<Script>| Setup {
        store: store.clone(),
        ledger: Some(ledger.clone()),
        resolve: Arc::new(|spec| {
            let mut spec = spec.clone();
            let Target::Stdio(target) = &mut spec.target else { panic!() };
            target.args.iter_mut().for_each(|arg| *arg = arg.replace("${TOKEN}", "s3cret"));
            Ok(spec)
        }),
        ..Setup::without_servers(&[script])
    };
    let mut spec = fs.spec();
    let Target::Stdio(target) = &mut spec.target else { panic!() };
    target.args.push("--token=${TOKEN}".into());

    let node = World::new().start("a", setup(&fs)).await;
    node.registry.add(spec, None, false).await.unwrap();
    node.ready("fs", "a").await;
    node.stop().await;
    let mut text = String::new();
    let mut read = |view: &dyn View, _| {
        for (_, value) in view.scan(b"", None, 100).unwrap() {
            text.push_str(&String::from_utf8_lossy(&value));
        }
        Ok(())
    };
    ledger.read(Shard::REGISTRY, &mut read).unwrap();
    assert!(text.contains("${TOKEN}") && !text.contains("s3cret"), "{text}");

    let node = World::new().start("a", setup(&fs)).await;
    node.ready("fs", "a").await;
    let seen = fs.seen.borrow().clone();
    for (spec, _) in &seen.connects {
        let Target::Stdio(target) = &spec.target else { panic!() };
        assert_eq!(target.args, ["--token=s3cret"]);
    }
    // The era was found by the first node and is told to the second one's connector.
    assert_eq!(seen.connects.iter().map(|(_, era)| *era).collect::<Vec<_>>(), [None, Some(Era::Modern)]);
    assert!(node.registry.remove(&"fs".parse().unwrap()).await.unwrap());
    node.stop().await;
    assert!(spanwire_model::Store::scan(&*store, b"").unwrap().is_empty(), "nothing is left of it");
}

#[tokio::test]
async fn a_stored_server_that_cannot_be_resolved_can_be_removed() {
    let fs = Script::new("fs", &["echo"]);
    let folder = tempfile::tempdir().unwrap();
    let ledger = Some(super::world::ledger_in(folder.path()).await);
    let node = World::new().start("a", Setup { ledger: ledger.clone(), ..Setup::without_servers(&[&fs]) }).await;
    node.registry.add(fs.spec(), None, false).await.unwrap();
    node.stop().await;
    let no =
        |_: &spanwire_model::ServerSpec| Err(spanwire_model::Error::new(ErrorKind::InvalidParams, "no such variable"));
    let setup = Setup { ledger, resolve: Arc::new(no), ..Setup::without_servers(&[&fs]) };
    let node = World::new().start("a", setup).await;
    let down = node.entry("fs", "a", |entry| entry.health.state == ServerState::Down).await;
    assert_eq!(down.health.detail.as_deref(), Some("no such variable"));
    assert!(node.registry.remove(&"fs".parse().unwrap()).await.unwrap());
    assert!(!node.registry.remove(&"fs".parse().unwrap()).await.unwrap());
    node.stop().await;
}

#[tokio::test]
async fn the_era_is_forgotten_when_connecting_with_it_fails() {
    let fs = Script::new("fs", &["echo"]);
    fs.speaks(Revision::V2025_11_25);
    let node = World::new().start("a", Setup::of(&[&fs])).await;
    node.ready("fs", "a").await;
    fs.connects([Connect::Fails, Connect::Works]);
    fs.die().await;
    node.entry("fs", "a", |entry| entry.health.restarts == 2 && entry.health.state.is_callable()).await;
    let eras: Vec<_> = fs.seen.borrow().connects.iter().map(|(_, era)| *era).collect();
    assert_eq!(eras, [None, Some(Era::Legacy), None]);
    node.stop().await;
}

#[tokio::test]
async fn a_shutdown_closes_every_server_and_ends_in_time() {
    let (fs, git, slow) = (Script::new("fs", &["echo"]), Script::new("git", &["log"]), Script::new("slow", &[]));
    slow.close_hangs();
    let node = World::new().start("a", Setup::of(&[&fs, &git, &slow])).await;
    for server in ["fs", "git", "slow"] {
        node.ready(server, "a").await;
    }
    let started = Instant::now();
    node.router.shutdown(PATIENCE).await;
    node.registry.shutdown(Duration::from_millis(100)).await;
    assert!(started.elapsed() < Duration::from_secs(5));
    for script in [&fs, &git, &slow] {
        assert_eq!(script.seen.borrow().closed, 1, "{}", script.id);
        assert_eq!(Arc::strong_count(script), 1, "nobody holds {} any more", script.id);
    }
    assert!(node.registry.add(fs.spec(), None, true).await.is_err());
}

#[tokio::test]
async fn a_registry_that_cannot_start_leaves_no_server_behind() {
    let fs = Script::new("fs", &["echo"]);
    let world = World::new();
    let bus = world.bus("a");
    spanwire_model::Backbone::close(&*bus).await;
    let folder = tempfile::tempdir().unwrap();
    let parts = spanwire_registry::Parts {
        connector: Arc::new(super::script::Scripts(vec![fs.clone()])),
        store: Arc::new(MemoryStore::default()),
        backbone: bus,
        resolve: Arc::new(|spec| Ok(spec.clone())),
        ledger: super::world::ledger_in(folder.path()).await,
        leases: Arc::new(spanwire_ledger::MemoryLeases::new("a".parse().unwrap())),
    };
    let config = spanwire_registry::Config::new("a".parse().unwrap());
    assert!(spanwire_registry::start(config, parts, vec![fs.spec()]).await.is_err());
    let seen = fs.seen.borrow().clone();
    assert_eq!(seen.connects.len(), seen.closed, "what was opened is closed");
    assert_eq!(Arc::strong_count(&fs), 1, "nobody holds it any more");
}
