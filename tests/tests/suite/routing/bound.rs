//! Questions about a task: only the replica that made it can answer them, and where that one cannot be asked, nobody else does.

use std::{sync::Arc, time::Duration};

use spanwire_ledger::MemoryLeases;
use spanwire_mcp::Json;
use spanwire_model::{Error, ErrorKind, Leases, Placement, Retry, ServerSpec};

use super::{
    script::{Connect, Script},
    world::{Node, Request, Setup, World},
};

const DECLARED: &str =
    r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

/// The id of a new task.
async fn task(node: &Node) -> String {
    let result = Json::from_trusted(node.tool("fs__work").ok().await);
    result.get("taskId").unwrap().read().unwrap()
}

fn about<'a>(node: &'a Node, method: &str, id: &str) -> Request<'a> {
    node.request(method, format!(r#"{{"taskId":"{id}",{DECLARED}}}"#))
}

/// Every question about the task is refused, and says that the task may be there still.
async fn is_out_of_reach(node: &Node, id: &str, has_it: &str) {
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let error: Error = about(node, method, id).outcome().await.unwrap_err();
        let text = format!("the replica of server \"fs\" that has this task, on node \"{has_it}\", is not connected");
        assert_eq!(
            (error.kind, error.retry(), &*error.public),
            (ErrorKind::Unavailable, Retry::Safe, &*text),
            "{method}"
        );
    }
}

fn common(config: &mut spanwire_router::Config) {
    config.seal_secret = b"common".to_vec();
}

#[tokio::test]
async fn a_task_whose_replica_is_away_is_not_asked_of_another_one() {
    for router in [common, |_: &mut _| {}] as [fn(&mut spanwire_router::Config); 2] {
        let world = World::new();
        let (one, two) = (Script::new("fs", &["work"]), Script::new("fs", &["work"]));
        let setup = |servers: &[&Arc<Script>]| Setup { router, ..Setup::of(servers) };
        let a = world.start("a", setup(&[])).await;
        let b = world.start("b", setup(&[&one])).await;
        b.ready("fs", "b").await;
        a.ready("fs", "b").await;
        let id = task(&a).await;
        let c = world.start("c", setup(&[&two])).await;
        c.ready("fs", "c").await;
        for node in [&a, &b] {
            node.ready("fs", "c").await;
        }

        // Its server is being started again: the node is there.
        one.connects([Connect::Hangs]);
        one.die().await;
        for node in [&a, &b, &c] {
            node.entry("fs", "b", |entry| !entry.health.state.is_callable()).await;
        }
        for node in [&a, &b, &c] {
            is_out_of_reach(node, &id, "b").await;
        }
        // The node is gone.
        b.stop().await;
        for node in [&a, &c] {
            let inventory = node.until("two nodes", |inventory| inventory.nodes.len() == 2).await;
            node.catalog(inventory.version).await;
            is_out_of_reach(node, &id, "b").await;
        }
        assert!(two.seen.borrow().calls.is_empty(), "a stranger was asked");
        // The other one has tasks of its own.
        about(&a, "tasks/get", &task(&a).await).ok().await;
        a.stop().await;
        c.stop().await;
    }
}

/// Nodes that may run `fs`, on so many of them at a time, and one that knows nothing of it, with its own seal or theirs; and a task of the
/// first one that runs it.
async fn placed(replicas: u16, seal: fn(&mut spanwire_router::Config)) -> (Node, [(Node, Arc<Script>); 2], String) {
    let (world, leases) = (World::new(), Arc::new(MemoryLeases::new("b".parse().unwrap())));
    let scripts = [Script::new("fs", &["work"]), Script::new("fs", &["work"])];
    let start = async |id: &str, script: &Arc<Script>| {
        let leases: Arc<dyn Leases> = leases.clone();
        let spec = ServerSpec { placement: Placement::Any, replicas, ..script.spec() };
        let setup = Setup { specs: vec![spec], leases: Some(leases), router: common, ..Setup::of(&[script]) };
        world.start(id, setup).await
    };
    let a = world.start("a", Setup { router: seal, ..Setup::of(&[]) }).await;
    let b = start("b", &scripts[0]).await;
    b.ready("fs", "b").await;
    a.ready("fs", "b").await;
    let id = task(&a).await;
    let c = start("c", &scripts[1]).await;
    c.ready("fs", "b").await;
    let [one, two] = scripts;
    (a, [(b, one), (c, two)], id)
}

#[tokio::test]
async fn the_only_replica_answers_for_what_was_begun_where_it_was_before() {
    // The node where it was lives, and a node that cannot open the id does not know more of it.
    for seal in [common, |_: &mut _| {}] as [fn(&mut spanwire_router::Config); 2] {
        let (a, [(b, _), (c, there)], id) = placed(1, seal).await;
        b.registry.hand_over(Duration::ZERO).await;
        a.ready("fs", "c").await;
        about(&a, "tasks/get", &id).ok().await;
        assert_eq!(there.seen.borrow().calls.len(), 1, "it knows best whether there is such a task");
        for node in [a, b, c] {
            node.stop().await;
        }
    }
}

#[tokio::test]
async fn of_several_placed_replicas_none_answers_for_another() {
    let (a, [(b, _), (c, there)], id) = placed(2, common).await;
    a.ready("fs", "c").await;
    b.registry.hand_over(Duration::ZERO).await;
    for node in [&a, &b, &c] {
        let inventory = node
            .until("one replica", |inventory| {
                !inventory.servers.iter().any(|entry| entry.node.as_str() == "b" && entry.health.state.is_callable())
            })
            .await;
        node.catalog(inventory.version).await;
        let error = about(node, "tasks/get", &id).within(Duration::from_millis(500)).outcome().await.unwrap_err();
        assert!(error.public.contains("that has this task, on node \"b\", is not connected"), "{error}");
    }
    assert!(there.seen.borrow().calls.is_empty(), "a stranger was asked");
    for node in [a, b, c] {
        node.stop().await;
    }
}
