//! One node, or two on a JetStream.

use spanwire_rpc::v1::ServerState;
use spanwire_tests::{nats::NatsServer, node::Node, otlp::Collector};

use super::hand::Hand;

/// How often a state is looked at that nobody tells of.
pub(super) const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

pub(super) struct World {
    pub(super) nodes: Vec<Node>,
    pub(super) collector: Collector,
    _nats: Option<NatsServer>,
}

impl World {
    pub(super) async fn alone(fragment: &str) -> Self {
        let collector = Collector::start().await.unwrap();
        let config = format!("{}{fragment}", collector.grpc_config());
        let nodes = vec![Node::start_as("a", &config).await.unwrap()];
        let world = Self { nodes, collector, _nats: None };
        world.settle().await;
        world
    }

    pub(super) async fn cluster(fragment: &str) -> Self {
        let collector = Collector::start().await.unwrap();
        let nats = NatsServer::start_jetstream().await.unwrap();
        let config = format!("[nats]\nurl = \"{}\"\n{}{fragment}", nats.url(), collector.grpc_config());
        let (a, b) = tokio::join!(Node::start_as("a", &config), Node::start_as("b", &config));
        let world = Self { nodes: vec![a.unwrap(), b.unwrap()], collector, _nats: Some(nats) };
        world.settle().await;
        world
    }

    /// Until every node follows every log, and its context can be called.
    pub(super) async fn settle(&self) {
        for node in &self.nodes {
            node.wait_following().await.unwrap();
            node.wait_servers(&["context"], ServerState::Ready).await.unwrap();
        }
    }

    /// Where is written.
    pub(super) fn first(&self) -> &Node {
        self.nodes.first().unwrap()
    }

    /// Where is read.
    pub(super) fn last(&self) -> &Node {
        self.nodes.last().unwrap()
    }

    /// The same space on the first and on the last node.
    pub(super) async fn hands(&self, space: &str) -> (Hand, Hand) {
        (Hand::new(self.first(), space).await, Hand::new(self.last(), space).await)
    }
}
