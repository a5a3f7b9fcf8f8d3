//! A call to a server of the same node never leaves the node.

use serde_json::json;
use spanwire_tests::node::Caller;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

use super::deployment::{Deployment, Topology};

/// Longer than anything that is waited for may ever take.
const LONG: std::time::Duration = std::time::Duration::from_secs(30);

/// A NATS client that hears every request between nodes, in the plain text of the protocol.
struct Ear(tokio::io::Lines<BufReader<TcpStream>>);

impl Ear {
    async fn open(deployment: &Deployment) -> Self {
        let address = deployment.nats.as_ref().unwrap().address();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let subscriptions = "SUB sw.v1.*.call.> 1\r\nSUB sw.v1.*.node.> 2\r\n";
        stream.write_all(format!("CONNECT {{\"verbose\":false}}\r\n{subscriptions}PING\r\n").as_bytes()).await.unwrap();
        let mut ear = Self(BufReader::new(stream).lines());
        while ear.line().await != "PONG" {}
        ear
    }

    async fn line(&mut self) -> String {
        let line = timeout(LONG, self.0.next_line()).await.expect("nothing was heard").unwrap();
        line.expect("the connection ended").trim().to_owned()
    }

    /// The subject of the next request of a client.
    async fn next(&mut self) -> String {
        loop {
            let line = self.line().await;
            let subject = line.strip_prefix("MSG ").and_then(|rest| rest.split(' ').next());
            // Nodes ask each other for what they have, whoever calls.
            if let Some(subject) = subject.filter(|subject| !subject.contains(".spanwire=2F")) {
                return subject.to_owned();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_server_of_the_same_node_does_not_touch_the_bus() {
    let deployment = Deployment::start(Topology::Two).await;
    let mut ear = Ear::open(&deployment).await;
    let a = Caller::new(deployment.nodes[0].mcp_url(""));
    let b = Caller::new(deployment.nodes[1].mcp_url(""));
    for number in 0..20 {
        let text = format!("local {number}");
        let answer = a.call("everything__echo", json!({ "message": text })).await.unwrap();
        assert_eq!(answer["result"]["content"][0]["text"], format!("Echo: {text}"), "{answer}");
        let answer = b.call("rust__shout", json!({ "text": text })).await.unwrap();
        assert_eq!(answer["result"]["content"][0]["text"], text.to_uppercase(), "{answer}");
    }
    a.tools().await.unwrap();
    // The first request that is heard is the first one that had to travel; the bus keeps the order.
    let answer = b.call("everything__echo", json!({ "message": "remote" })).await.unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "Echo: remote", "{answer}");
    let subject = ear.next().await;
    assert_eq!(subject, "sw.v1.default.node.a.anonymous.everything.tools=2Fcall.echo", "to the node that has it");
}
