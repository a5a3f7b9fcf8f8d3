//! Hosts that know only stdio, and the files that people already have.

use std::{fs, path::Path};

use serde_json::json;
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    node::{Caller, Node, program},
    peers::{FastMcp, Peers, Program, Sdk, Via, call, fill_folder, http_config},
};

/// `spanwire stdio` as a host starts it.
fn bridge(node: &Node, view: &str) -> Program {
    let mut program = Program::new(program().unwrap(), ["stdio", "--url", &node.mcp_url("")]);
    if !view.is_empty() {
        program.args.extend(["--view".to_owned(), view.to_owned()]);
    }
    program
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_on_stdio_reaches_every_server() {
    let peers = Peers::find().unwrap();
    let fastmcp = FastMcp::start().await.unwrap();
    let config = peers.everything().config("everything") + &http_config("fastmcp", fastmcp.url());
    let mut node = Node::start(&config).await.unwrap();
    node.wait_servers(&["everything", "fastmcp"], ServerState::Ready).await.unwrap();
    let mut slow = call("fastmcp__slow", json!({ "seconds": 0.2, "steps": 2 }));
    slow["progress"] = json!(true);
    let ops = json!([
        { "op": "list_tools" },
        call("everything__echo", json!({ "message": "over stdio" })),
        slow,
        { "op": "wait_list_changed", "trigger": call("fastmcp__register_tool", json!({ "name": "added" })) },
    ]);
    for sdk in Sdk::ALL {
        let document = peers.run(sdk, &Via::Stdio(bridge(&node, "")), &ops).await.unwrap();
        let results = &document["results"];
        assert!(results[0]["ok"]["tools"].as_array().is_some_and(|tools| tools.len() >= 23), "{sdk:?}: {document}");
        assert_eq!(results[1]["ok"]["content"][0]["text"], "Echo: over stdio", "{sdk:?}: {document}");
        assert_eq!(results[2]["progress"].as_array().map(Vec::len), Some(2), "{sdk:?}: {document}");
        let changed = &results[3]["ok"]["notification"]["method"];
        assert_eq!(changed, "notifications/tools/list_changed", "{sdk:?}: {}", results[3]);
        // Registered again, it is a change again.
        node.call("fastmcp__remove_tool", &json!({ "name": "added" })).await.unwrap();
    }
    let ops = json!([call("echo", json!({ "message": "one view" }))]);
    let via = Via::Stdio(bridge(&node, "everything"));
    let document = peers.run(Sdk::TypeScriptLegacy, &via, &ops).await.unwrap();
    assert_eq!(document["results"][0]["ok"]["content"][0]["text"], "Echo: one view", "{document}");
    node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claude_desktop_file_is_taken_over() {
    let peers = Peers::find().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fill_folder(folder.path()).unwrap();
    let file = folder.path().join("claude_desktop_config.json");
    let entry = |program: &Program| json!({ "command": program.command, "args": program.args });
    let text = json!({ "mcpServers": {
        "Everything": entry(&peers.everything()),
        "filesystem": entry(&peers.filesystem(folder.path())),
    } });
    fs::write(&file, text.to_string()).unwrap();

    let mut node = Node::start("").await.unwrap();
    let output = node.command(&["import", &file.to_string_lossy()]).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    check(&node, folder.path()).await;
    // The node keeps what it was given.
    node.stop().await.unwrap();
    node.restart().await.unwrap();
    check(&node, folder.path()).await;
    node.stop().await.unwrap();
}

async fn check(node: &Node, folder: &Path) {
    node.wait_servers(&["everything", "filesystem"], ServerState::Ready).await.unwrap();
    let caller = Caller::new(node.mcp_url(""));
    let path = folder.join("hello.txt");
    let answer = caller.call("filesystem__read_text_file", json!({ "path": path })).await.unwrap();
    assert_eq!(answer["result"]["structuredContent"]["content"], "hello from a file\n", "{answer}");
    let called = node.command(&["call", "everything__echo", "message=imported"]).await.unwrap();
    assert!(String::from_utf8_lossy(&called.stdout).contains("Echo: imported"), "{called:?}");
}
