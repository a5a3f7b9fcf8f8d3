//! rmcp as the client, in both eras.

use rmcp::{
    RoleClient,
    model::{CallToolRequestParams, GetPromptRequestParams, ProtocolVersion, ReadResourceRequestParams},
    service::{ClientLifecycleMode, ClientServiceExt, RunningService},
    transport::StreamableHttpClientTransport,
};
use serde_json::{Value, json};
use spanwire_tests::{node::http_client, peers::Via};

use super::{
    deployment::{Deployment, Topology},
    differences::{differences, own_part},
};

async fn connect(url: &str, modern: bool) -> RunningService<RoleClient, ()> {
    // It also makes sure of the TLS provider that rmcp's own client wants.
    drop(http_client());
    let transport = StreamableHttpClientTransport::from_uri(url);
    let lifecycle = if modern {
        ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
    } else {
        ClientLifecycleMode::Initialize
    };
    ().serve_with_lifecycle(transport, lifecycle).await.unwrap()
}

/// Everything that the rust server has, through rmcp; names begin with `name`, URIs with `uri`.
async fn ask(url: &str, modern: bool, name: &str, uri: &str) -> Vec<Value> {
    let client = connect(url, modern).await;
    let call = async |tool: &str, arguments: Value| {
        let params = CallToolRequestParams::new(format!("{name}{tool}"));
        client.call_tool(params.with_arguments(arguments.as_object().cloned().unwrap())).await.unwrap()
    };
    let mut prompt = GetPromptRequestParams::new(format!("{name}haiku"));
    prompt.arguments = json!({ "topic": "rust" }).as_object().cloned();
    let read = ReadResourceRequestParams::new(format!("{uri}note://one"));
    let answers = vec![
        json!({ "tools": client.list_all_tools().await.unwrap() }),
        json!({ "prompts": client.list_all_prompts().await.unwrap() }),
        json!({ "resources": client.list_all_resources().await.unwrap() }),
        json!({ "resourceTemplates": client.list_all_resource_templates().await.unwrap() }),
        json!(call("shout", json!({ "text": "hi" })).await),
        json!(call("measure", json!({ "text": "four" })).await),
        json!(call("refuse", json!({})).await),
        json!(client.get_prompt(prompt).await.unwrap()),
        json!(client.read_resource(read).await.unwrap()),
    ];
    client.cancel().await.unwrap();
    answers.into_iter().map(|answer| json!({ "ok": without_server_info(answer) })).collect()
}

fn without_server_info(mut answer: Value) -> Value {
    if let Some(meta) = answer.get_mut("_meta").and_then(Value::as_object_mut) {
        meta.remove("io.modelcontextprotocol/serverInfo");
        if meta.is_empty() {
            answer.as_object_mut().unwrap().remove("_meta");
        }
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_gets_the_same_answers_from_both_nodes() {
    let deployment = Deployment::start(Topology::Two).await;
    let Via::Http(url) = deployment.direct("rust") else { panic!("not over http") };
    for modern in [false, true] {
        let direct = ask(&url, modern, "", "").await;
        assert_eq!(direct[0]["ok"]["tools"].as_array().unwrap().len(), 3);
        for node in &deployment.nodes {
            let own = ask(&node.mcp_url("rust"), modern, "", "").await;
            let federated = ask(&node.mcp_url(""), modern, "rust__", "rust+").await;
            for (index, direct) in direct.iter().enumerate() {
                let place = format!("modern {modern}, node {}, answer {index}", node.id());
                assert_eq!(differences(direct, &own[index]), Vec::<String>::new(), "{place}, own view");
                let mapped = own_part(&federated[index], "rust");
                assert_eq!(differences(direct, &mapped), Vec::<String>::new(), "{place}, federated view");
            }
        }
    }
}
