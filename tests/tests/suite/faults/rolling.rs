//! Every node is restarted, one after the other, while clients call through a balancer that looks at `/readyz`: no call fails.

use std::sync::{Arc, Mutex};

use serde_json::json;
use spanwire_tests::{
    nats::NatsServer,
    node::{Node, http_client},
};
use tokio_util::sync::CancellationToken;

use super::{
    client::Client,
    eventually,
    rig::{self, sections},
    server::{Kind, Server},
};

const WORKERS: usize = 4;
/// Time in which the balancer notices: generous, since it shares the machine with everything else.
const LIMITS: &str = "shutdown_timeout_ms = 15000\ndrain_grace_ms = 3000\ncall_timeout_ms = 40000";

/// The nodes that the balancer knows, by their `/readyz` and `/mcp`.
type Nodes = Arc<Mutex<Vec<(String, String)>>>;

fn place(node: &Node) -> (String, String) {
    (node.url("readyz"), node.mcp_url(""))
}

/// A node that says that it is ready.
async fn ready(http: &reqwest::Client, nodes: &Nodes) -> String {
    let look = async || {
        let known = nodes.lock().unwrap().clone();
        for (readyz, mcp) in known {
            if http.get(readyz).send().await.is_ok_and(|response| response.status().is_success()) {
                return Some(mcp);
            }
        }
        None
    };
    eventually("a node is ready", look).await
}

/// Calls both servers, one call after the other, each through a node that is ready at that moment.
async fn work(worker: usize, nodes: Nodes, stop: CancellationToken, done: Arc<Mutex<usize>>) {
    let http = http_client();
    for n in 0_usize.. {
        if stop.is_cancelled() {
            return;
        }
        // Not all of them at the first one.
        nodes.lock().unwrap().rotate_left(1);
        let client = Client::new(ready(&http, &nodes).await);
        let tool = if n.is_multiple_of(2) { "pair__count" } else { "single__count" };
        let answer = client.try_call(tool, json!({ "mark": format!("{worker}-{n}"), "ms": 20 })).await;
        let answer = answer.unwrap_or_else(|error| panic!("{tool} {worker}-{n}: {error:?}"));
        assert_eq!(answer.text(), "counted", "{tool} {worker}-{n}");
        *done.lock().unwrap() += 1;
    }
}

#[tokio::test]
async fn a_rolling_restart_fails_no_call() {
    let nats = NatsServer::start_jetstream().await.unwrap();
    let bare = sections(Some(&nats), LIMITS);
    let (mut nodes, mut pairs, mut singles) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..2 {
        let pair = Server::new("pair", Kind::StdioModern).await;
        let single = Server::new("single", Kind::StdioModern).await;
        let tables = format!("{}\n{}", pair.config(""), single.config("placement = \"any\""));
        nodes.push(Node::start(&format!("{bare}\n{tables}")).await.unwrap());
        pairs.push(pair);
        singles.push(single);
    }
    for node in &nodes {
        let client = Client::new(node.mcp_url(""));
        rig::answers(&client, &pairs[0]).await;
        rig::answers(&client, &singles[0]).await;
    }
    let known: Nodes = Arc::new(Mutex::new(nodes.iter().map(place).collect()));
    let (stop, done) = (CancellationToken::new(), Arc::new(Mutex::new(0)));
    let load =
        futures::future::join_all((0..WORKERS).map(|worker| work(worker, known.clone(), stop.clone(), done.clone())));
    let restarts = async {
        let goes_on = async || {
            let wanted = *done.lock().unwrap() + 40;
            eventually("calls go on", async || (*done.lock().unwrap() >= wanted).then_some(())).await;
        };
        goes_on().await;
        for node in &mut nodes {
            let before = place(node);
            node.stop().await.unwrap();
            goes_on().await;
            node.restart().await.unwrap();
            known.lock().unwrap().retain(|place| *place != before);
            known.lock().unwrap().push(place(node));
            // The whole node is back before the next one goes.
            let client = Client::new(node.mcp_url(""));
            rig::answers(&client, &pairs[0]).await;
            rig::answers(&client, &singles[0]).await;
            goes_on().await;
        }
        stop.cancel();
    };
    tokio::join!(load, restarts);
    let marks = |servers: &[Server]| -> Vec<String> {
        let lines = servers.iter().flat_map(Server::journal);
        let mut marks: Vec<String> = lines.filter(|line| line.starts_with("counted ")).collect();
        marks.sort();
        marks
    };
    let mut all = [marks(&pairs), marks(&singles)].concat();
    let sum = all.len();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), sum), (*done.lock().unwrap(), sum), "each call once, and no other one");
}
