use spanwire_model::{NodeInfo, NodeState};
use spanwire_rpc::v1;
use tonic::Code;

use super::*;
use crate::missing;

#[tokio::test]
async fn status_says_how_the_node_is() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    let status = client.status(v1::StatusRequest {}).await.unwrap().into_inner();
    let count = |state: v1::ServerState| v1::StateCount { state: state.into(), count: 1 };
    let alive = |id: &str| v1::NodeStatus {
        id: id.into(),
        state: v1::NodeState::Alive.into(),
        version: "0".into(),
        silent_ms: 0,
    };
    let expected = v1::StatusResponse {
        node: "here".into(),
        version: "1.2.3".into(),
        uptime_ms: 1500,
        listeners: vec![v1::Listener { name: "grpc".into(), address: "127.0.0.1:7401".into(), era: "legacy".into() }],
        backbone: "memory".into(),
        backbone_connected: true,
        nodes: vec!["here".into(), "there".into()],
        in_flight: 4,
        sessions: 5,
        servers: [v1::ServerState::Ready, v1::ServerState::Degraded, v1::ServerState::Down].map(count).into(),
        telemetry: Some(v1::TelemetryStatus { endpoint: String::new(), exported: 1, failed: 2, dropped: 3, held: 4 }),
        ready: true,
        node_states: vec![alive("here"), alive("there")],
        leases: vec![v1::LeaseStatus { name: "duty".into(), node: "there".into(), token: 9 }],
        ledger: "local".into(),
        shards: vec![v1::ShardStatus {
            book: "registry".into(),
            number: 0,
            state: v1::ShardState::CutOff.into(),
            detail: "the log does not answer".into(),
            applied: 5,
            last: 7,
            first: 2,
            hash: "ab".into(),
            replicas: 3,
            stale_ms: 1500,
        }],
        missing: Vec::new(),
        agents: 6,
        registered_servers: 0,
    };
    assert_eq!(status, expected);
    node.stop().await;
}

#[tokio::test]
async fn a_silent_node_is_told() {
    let node = Node::start(None).await;
    node.control.inventory.send_modify(|inventory| {
        let there = &mut Arc::make_mut(inventory).nodes[0];
        (there.state, there.silent) = (NodeState::Suspect, Duration::from_millis(4200));
    });
    let status = node.client().await.status(v1::StatusRequest {}).await.unwrap().into_inner();
    let states: Vec<_> = status.node_states.iter().map(|node| (&*node.id, node.state(), node.silent_ms)).collect();
    assert_eq!(states, [("here", v1::NodeState::Alive, 0), ("there", v1::NodeState::Suspect, 4200)]);
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_drains_is_not_ready() {
    let node = Node::start(None).await;
    let status = node.control.status();
    let check = |id: &str, state: NodeState, expected: &[&str]| {
        let info = NodeInfo { id: id.parse().unwrap(), state, version: "0".into(), silent: Duration::ZERO };
        assert_eq!(missing(&status, &Inventory { version: 1, nodes: vec![info], ..Inventory::default() }), expected);
    };
    check("here", NodeState::Draining, &["the node is draining"]);
    check("here", NodeState::Alive, &[]);
    check("there", NodeState::Draining, &[]);
    let mut starting = Status { settled: false, ..status.clone() };
    assert_eq!(missing(&starting, &Inventory::default()), ["the other nodes have not all told their servers yet"]);
    starting = Status { settled: true, ..starting };
    starting.shards.truncate(1);
    for (state, word) in [(ShardState::CatchingUp, "catching up"), (ShardState::Rebuilding, "rebuilding")] {
        starting.shards[0].state = state;
        let expected = format!("shard {} of the ledger is {word}", starting.shards[0].shard);
        assert_eq!(missing(&starting, &Inventory::default()), [expected]);
    }
    starting.uptime = Duration::from_secs(31);
    assert!(missing(&starting, &Inventory::default()).is_empty(), "calls go on without the ledger");
    node.stop().await;
}

#[tokio::test]
async fn a_node_without_a_shared_context_says_so() {
    let node = Node::start(None).await;
    let mut client = v1::contexts_client::ContextsClient::new(node.channel().await);
    let request = v1::ContextGetRequest { space: "a".into(), key: "b".into(), read: None };
    let refused = client.get(request).await.unwrap_err();
    assert_eq!((refused.code(), kind(&refused)), (Code::Unimplemented, "method_not_found"));
    assert!(refused.message().contains("context.enabled = false"), "{refused}");
    node.stop().await;
}
