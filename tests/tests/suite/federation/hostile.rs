//! Hostile servers show as what they are, while the others answer.

use serde_json::{Value, json};
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    node::{Caller, Node},
    peers::Peers,
};

/// The answer to `tools/list` of each server, and what is then said of it.
const HOSTILE: [(&str, &str, &str, u32); 5] = [
    ("hangs", "time.sleep(3600)", "tools/list did not answer within 2000 ms", 0),
    (
        "endless",
        r#"n = int(params.get("cursor") or 0); reply({"tools": [tool("t%d" % n)], "nextCursor": str(n + 1)})"#,
        "more than 100 pages",
        100,
    ),
    ("circle", r#"reply({"tools": [tool("t")], "nextCursor": "same"})"#, "the same cursor twice", 1),
    (
        "huge",
        r#"reply({"tools": [tool("small"), tool("big", description="x" * 10000000)]})"#,
        "tool \"big\" has 1000",
        1,
    ),
    (
        "odd",
        r#"reply({"tools": [tool("ok"), tool("ok"), tool("has space"), tool(""), tool("x" * 300), {"none": 1}, 7, tool("fine")]})"#,
        "tool \"ok\" is listed twice; tool \"has space\" has an invalid name",
        2,
    ),
];

fn script(on_list: &str) -> String {
    format!(
        r#"
        if "id" not in message: return
        if method == "initialize": return hello(tools={{}})
        if method == "tools/call": return reply({{"content": [{{"type": "text", "text": "called " + params["name"]}}]}})
        if method != "tools/list": return fail(-32601, "no such method")
        {on_list}
        "#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_servers_are_shown_as_such_and_harm_nobody_else() {
    let peers = Peers::find().unwrap();
    let mut config = format!(
        "[context]\nexpose = false\n[limits]\nstart_timeout_ms = 2000\n{}",
        peers.everything().config("everything")
    );
    for (id, on_list, _, _) in HOSTILE {
        config += &peers.script_server(&script(on_list)).config(id);
    }
    let mut node = Node::start(&config).await.unwrap();
    // The good server does not wait for the bad ones.
    node.wait_servers(&["everything"], ServerState::Ready).await.unwrap();
    let caller = Caller::new(node.mcp_url(""));
    let answer = caller.call("everything__echo", json!({ "message": "hi" })).await.unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "Echo: hi", "{answer}");

    node.wait_servers(&HOSTILE.map(|(id, ..)| id), ServerState::Degraded).await.unwrap();
    let shown = node.command_json(&["servers", "--json"]).await.unwrap();
    let shown: &Vec<Value> = shown["servers"].as_array().unwrap();
    for (id, _, reason, tools) in HOSTILE {
        let server = shown.iter().find(|server| server["id"] == id).unwrap();
        assert_eq!(server["state"], "degraded", "{server}");
        assert!(server["detail"].as_str().unwrap().contains(reason), "{server}");
        assert_eq!(server["tools"], tools, "{server}");
    }

    // What is left of them can be called, and no name is there twice.
    let mut tools = caller.tools().await.unwrap();
    assert_eq!(tools.len(), 17 + 100 + 1 + 1 + 2);
    tools.sort();
    tools.dedup();
    assert_eq!(tools.len(), 17 + 100 + 1 + 1 + 2);
    for tool in ["odd__fine", "huge__small", "endless__t99"] {
        let answer = caller.call(tool, json!({})).await.unwrap();
        let own = tool.split("__").nth(1).unwrap();
        assert_eq!(answer["result"]["content"][0]["text"], format!("called {own}"), "{answer}");
    }
    node.stop().await.unwrap();
}
