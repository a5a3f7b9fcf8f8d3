//! Tasks of 2025-11-25, for a client whose view has the tasks extension.

use super::{
    legacy::{Old, request},
    *,
};

fn task(status: &str) -> Value {
    json!({
        "taskId": "t", "status": status, "createdAt": "2026-01-01T00:00:00Z", "lastUpdatedAt": "2026-01-01T00:00:00Z",
        "ttl": 1000, "pollInterval": 100,
    })
}

fn related() -> Value {
    json!({"io.modelcontextprotocol/related-task": {"taskId": "t"}})
}

#[tokio::test]
async fn a_tool_is_called_as_a_task_and_asks_while_its_result_is_waited_for() {
    let node = Node { path: "/mcp/work", ..node().await };
    let old = Old::open_with(&node, "2025-11-25", json!({"elicitation": {}})).await;
    let called = request(1, "tools/call", json!({"name": "task", "task": {"ttl": 1000}}));
    assert_eq!(ask(old.post(&called)).await.1["result"], json!({"task": task("working")}));
    let got = ask(old.post(&request(2, "tasks/get", json!({"taskId": "t"})))).await.1;
    assert_eq!(got["result"], task("input_required"));

    let mut events = Events::open(old.post(&request(3, "tasks/result", json!({"taskId": "t"})))).await;
    let asked = events.message().await.unwrap();
    assert_eq!(asked["method"], "elicitation/create");
    assert_eq!(asked["params"], json!({"message": "?", "requestedSchema": {}, "_meta": related()}));
    old.answer(&asked["id"], json!({"action": "accept", "_meta": related()})).await;
    let told = events.message().await.unwrap();
    assert_eq!((&told["method"], &told["params"]), (&json!("notifications/tasks/status"), &task("completed")));
    let last = events.message().await.unwrap();
    let answer = json!({"who": {"action": "accept"}});
    assert_eq!(last["result"], json!({"content": [], "structuredContent": answer, "_meta": related()}));

    let listed = ask(old.post(&request(4, "tasks/list", json!({})))).await.1;
    assert_eq!(listed["result"], json!({"tasks": [task("completed")]}));
    let cancelled = ask(old.post(&request(5, "tasks/cancel", json!({"taskId": "t"})))).await.1;
    assert_eq!(cancelled["error"]["code"], -32602);
}

#[tokio::test]
async fn a_result_that_comes_at_once_is_a_task_too() {
    let node = Node { path: "/mcp/work", ..node().await };
    let old = Old::open(&node, "2025-11-25").await;
    let called = request(1, "tools/call", json!({"name": "echo", "arguments": {"a": 1}, "task": {}}));
    let made = ask(old.post(&called)).await.1["result"]["task"].clone();
    assert_eq!(made["status"], "completed");
    let result = ask(old.post(&request(2, "tasks/result", json!({"taskId": made["taskId"]})))).await.1;
    assert_eq!(result["result"]["structuredContent"]["arguments"], json!({"a": 1}));
}

#[tokio::test]
async fn a_task_is_seen_through_for_a_client_that_knows_none() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-06-18", json!({"elicitation": {}})).await;
    let mut events = Events::open(old.post(&request(1, "tools/call", json!({"name": "task"})))).await;
    let asked = events.message().await.unwrap();
    assert_eq!(asked["params"], json!({"message": "?", "requestedSchema": {}}));
    old.answer(&asked["id"], json!({"action": "decline"})).await;
    let answer = json!({"who": {"action": "decline"}});
    let last = events.message().await.unwrap();
    assert_eq!(last["result"], json!({"content": [], "structuredContent": answer}));
    let unknown = ask(old.post(&request(2, "tasks/list", json!({})))).await.1;
    assert_eq!(unknown["error"]["code"], -32601);
}
