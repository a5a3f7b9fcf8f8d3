//! Every tool, prompt and resource that a server has is listed and gives the same answer through the broker.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use spanwire_tests::peers::{Sdk, Via};
use tokio::sync::Mutex;

use super::{
    deployment::{Deployment, SERVERS, Topology},
    differences::{Comparison, differences, own_part},
    operations::{federated, operations},
};

/// Client processes at once: they are what costs here.
const CLIENTS: usize = 3;

/// Servers that do not know 2026-07-28.
fn is_legacy(server: &str) -> bool {
    matches!(server, "everything" | "filesystem" | "memory")
}

/// An SDK that can ask the server directly in the place of this one.
fn direct_sdk(sdk: Sdk, server: &str) -> Sdk {
    match sdk {
        Sdk::TypeScriptModern if is_legacy(server) => Sdk::TypeScriptLegacy,
        Sdk::PythonModern if is_legacy(server) => Sdk::PythonLegacy,
        sdk => sdk,
    }
}

/// Documents of the direct servers, each asked once per SDK.
type Direct = HashMap<(String, &'static str), Value>;

fn key(sdk: Sdk, server: &str) -> (String, &'static str) {
    (format!("{sdk:?}"), SERVERS.into_iter().find(|id| *id == server).unwrap())
}

/// What the clients can be asked. No roots: the filesystem server takes them in place of its own folders.
const CAPABILITIES: [&str; 2] = ["--caps", "sampling,elicitation"];

async fn ask_directly(deployment: &Deployment, sdks: &[Sdk]) -> Direct {
    let mut wanted: Vec<(Sdk, &str)> =
        sdks.iter().flat_map(|sdk| SERVERS.map(|server| (direct_sdk(*sdk, server), server))).collect();
    wanted.sort_by_key(|(sdk, server)| key(*sdk, server));
    wanted.dedup();
    // The direct memory servers share a file.
    let memory = Mutex::new(());
    let runs = wanted.into_iter().map(async |(sdk, server)| {
        let _turn = if server == "memory" { Some(memory.lock().await) } else { None };
        let ops = Value::Array(operations(server, &deployment.files()));
        let document = deployment.peers.run_with(sdk, &deployment.direct(server), &ops, &CAPABILITIES).await?;
        anyhow::Ok((key(sdk, server), document))
    });
    stream::iter(runs).buffer_unordered(CLIENTS).try_collect().await.unwrap()
}

/// One run of a client against one view of one node, compared with the direct answers.
struct Run<'a> {
    sdk: Sdk,
    node: usize,
    /// One server in its own view; none is the federated view with all of them.
    server: Option<&'a str>,
}

impl Run<'_> {
    async fn differences(&self, deployment: &Deployment, direct: &Direct) -> Vec<String> {
        let servers: Vec<&str> = self.server.map_or_else(|| SERVERS.to_vec(), |server| vec![server]);
        let files = deployment.files();
        let ops: Vec<Value> = servers
            .iter()
            .flat_map(|server| operations(server, &files).into_iter().map(move |op| (server, op)))
            .map(|(server, op)| if self.server.is_some() { op } else { federated(&op, server) })
            .collect();
        let node = &deployment.nodes[self.node];
        let url = node.mcp_url(self.server.unwrap_or_default());
        let document = deployment.peers.run_with(self.sdk, &Via::Http(url), &json!(ops), &CAPABILITIES).await.unwrap();
        let mut answers = document["results"].as_array().unwrap().iter();
        let mut found = Vec::new();
        for server in servers {
            let used = direct_sdk(self.sdk, server);
            let comparison = Comparison { sdk: self.sdk, crosses_eras: used != self.sdk };
            let expected = &direct[&key(used, server)];
            let place = format!("{:?} {server} from node {} in {:?}", self.sdk, node.id(), self.server);
            if self.server.is_some() {
                let [a, b] = [&expected["server"], &document["server"]].map(|side| comparison.normalise_server(side));
                found.extend(differences(&a, &b).into_iter().map(|text| format!("{place}: server{text}")));
            }
            let own = operations(server, &files);
            let expected = expected["results"].as_array().unwrap();
            assert_eq!(expected.len(), own.len(), "{place}");
            for (op, expected) in own.iter().zip(expected) {
                let answer = answers.next().unwrap();
                let answer = if self.server.is_some() { answer.clone() } else { own_part(answer, server) };
                let [a, b] = [expected, &answer].map(|side| comparison.normalise(side));
                found.extend(differences(&a, &b).into_iter().map(|text| format!("{place}: {op}{text}")));
            }
        }
        found
    }
}

async fn check(topology: Topology, sdks: &[Sdk]) {
    let deployment = Deployment::start(topology).await;
    let direct = ask_directly(&deployment, sdks).await;
    sanity(&direct);
    let mut runs = Vec::new();
    for sdk in sdks {
        runs.extend((0..deployment.nodes.len()).map(|node| Run { sdk: *sdk, node, server: None }));
        for server in SERVERS {
            // The view of one server: legacy clients ask its own node, modern ones the other.
            let node = if sdk.era() == "legacy" { deployment.home(server) } else { deployment.away(server) };
            let node = deployment.nodes.iter().position(|candidate| candidate.id() == node.id()).unwrap();
            runs.push(Run { sdk: *sdk, node, server: Some(server) });
        }
    }
    // Behind the broker there is one memory server for all clients.
    let memory = Mutex::new(());
    let found: Vec<Vec<String>> = stream::iter(runs.iter().map(async |run| {
        let _turn = if run.server.is_none_or(|server| server == "memory") { Some(memory.lock().await) } else { None };
        run.differences(&deployment, &direct).await
    }))
    .buffer_unordered(CLIENTS)
    .collect()
    .await;
    let found: Vec<String> = found.into_iter().flatten().collect();
    assert!(found.is_empty(), "{} differences, direct | brokered:\n{}", found.len(), found.join("\n"));
    for mut node in deployment.nodes {
        node.stop().await.unwrap();
    }
}

/// The direct answers are what the comparison believes: they must not be empty.
fn sanity(direct: &Direct) {
    for ((sdk, server), document) in direct {
        let results = document["results"].as_array().unwrap();
        let good = results.iter().filter(|result| result.get("ok").is_some()).count();
        assert!(good + 1 >= results.len(), "{sdk} {server}: {document}");
        let first = &results[0]["ok"]["tools"];
        assert!(first.as_array().is_some_and(|tools| !tools.is_empty()), "{sdk} {server}: {first}");
        let with_progress = results.iter().filter_map(|result| result["progress"].as_array());
        assert!(with_progress.into_iter().all(|progress| progress.len() == 4), "{sdk} {server}: {document}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_through_one_node_equal_direct_ones() {
    check(Topology::One, &[Sdk::TypeScriptLegacy, Sdk::PythonModern]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_through_two_nodes_equal_direct_ones() {
    check(Topology::Two, &Sdk::ALL).await;
}
