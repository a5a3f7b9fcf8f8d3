#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::sync::Mutex as StdMutex;

use spanwire_model::Connected;

use super::*;
use crate::{
    tasks::script::{DECLARED, LONG, Script, call, json, new_task, old_task, refused},
    upstream::{Unasked, WireRequest},
};

const LISTING: &str = r#"{"tools":[{"name":"must","execution":{"taskSupport":"required"}},{"name":"may","execution":{"taskSupport":"optional"}},{"name":"not"}]}"#;

/// What a scripted server says of its one task.
#[derive(Clone)]
struct State {
    status: &'static str,
    /// The answer to `tasks/result`; `None` leaves it open.
    result: Option<Outcome>,
}

struct World {
    server: Arc<Script>,
    connected: Connected,
    state: Arc<StdMutex<State>>,
}

impl World {
    async fn new(status: &'static str, result: Option<Outcome>) -> Self {
        let state = Arc::new(StdMutex::new(State { status, result }));
        let told = state.clone();
        let server = Script::legacy(move |request| answer(request, &told));
        let connected = server.connect().await;
        connected.upstream.call(call(Method::ToolsList, "{}")).outcome().await.unwrap();
        Self { server, connected, state }
    }

    fn set(&self, status: &'static str) {
        self.state.lock().unwrap().status = status;
    }

    async fn ask(&self, method: Method, params: &str) -> Outcome {
        let reply = self.connected.upstream.call(call(method, params)).outcome();
        tokio::time::timeout(LONG, reply).await.unwrap()
    }

    async fn get(&self) -> Outcome {
        self.ask(Method::TasksGet, &format!(r#"{{"taskId":"t",{DECLARED}}}"#)).await
    }

    /// The task as soon as something is asked in it.
    async fn asked(&self) -> Json {
        let asked = async {
            loop {
                let got = self.get().await.unwrap();
                if got.get("inputRequests").is_some() {
                    return got;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, asked).await.unwrap()
    }

    async fn update(&self, responses: &str) -> Outcome {
        self.ask(Method::TasksUpdate, &format!(r#"{{"taskId":"t","inputResponses":{responses},{DECLARED}}}"#)).await
    }

    async fn elicit(&self, id: i64) {
        let params =
            r#"{"message":"?","requestedSchema":{},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#;
        self.server.ask(id, Method::ElicitationCreate, params).await;
    }
}

fn answer(request: &WireRequest, state: &StdMutex<State>) -> Option<Outcome> {
    let State { status, result } = state.lock().unwrap().clone();
    let known = request.params.get("taskId").is_none_or(|id| id.as_str() == "\"t\"");
    match &request.method {
        Method::ToolsList => Some(Ok(json(LISTING))),
        Method::ToolsCall if request.params.get("task").is_some() => {
            let hint = r#"{"io.modelcontextprotocol/model-immediate-response":"wait"}"#;
            Some(Ok(json(&format!(r#"{{"task":{},"_meta":{hint}}}"#, old_task("working")))))
        }
        Method::ToolsCall => Some(Ok(json(r#"{"content":[]}"#))),
        _ if !known => Some(refused(-32602, "Failed to retrieve task: Task not found")),
        Method::TasksGet => Some(Ok(json(&old_task(status)))),
        Method::TasksResult => result,
        Method::TasksCancel if status == "working" => Some(Ok(json(&old_task("cancelled")))),
        Method::TasksCancel => Some(refused(-32602, "Cannot cancel task: already in terminal status")),
        _ => None,
    }
}

fn same(got: &Json, expected: &str) {
    assert_eq!(got.to_value(), json(expected).to_value());
}

#[tokio::test]
async fn the_extension_is_announced_for_a_server_with_tasks() {
    let world = World::new("working", None).await;
    let expected = r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;
    assert_eq!(world.connected.facts.capabilities.as_str(), expected);
    let discovered = world.ask(Method::Discover, "{}").await.unwrap();
    assert_eq!(discovered.get("capabilities").unwrap().as_str(), expected);
}

#[tokio::test]
async fn the_listing_decides_which_calls_are_tasks() {
    let world = World::new("working", None).await;
    let call = |name: &str, more: &str| {
        let params = format!(r#"{{"name":"{name}"{more}}}"#);
        let world = &world;
        async move { world.ask(Method::ToolsCall, &params).await }
    };
    let declared = format!(",{DECLARED}");
    let task = format!(
        r#"{},"resultType":"task","_meta":{{"io.modelcontextprotocol/model-immediate-response":"wait"}}}}"#,
        new_task("working")
    );
    let plain = r#"{"resultType":"complete","content":[]}"#;
    for name in ["must", "may"] {
        same(&call(name, &declared).await.unwrap(), &task);
        world.server.saw(&format!(r#"tools/call {{"name":"{name}","task":{{"ttl":86400000}}}}"#), 1).await;
    }
    same(&call("not", &declared).await.unwrap(), plain);
    same(&call("may", "").await.unwrap(), plain);
    world.server.saw(r#"tools/call {"name":"may"}"#, 1).await;
    // A tool that nobody listed, and a member that only the old form knows.
    same(&call("new", &format!(r#","task":{{"ttl":1}}{declared}"#)).await.unwrap(), plain);
    world.server.saw(r#"tools/call {"name":"new"}"#, 1).await;
    // What a client of 2025-11-25 wished for.
    let wish = declared.replacen("{", r#"{"io.spanwire/task":{"ttl":7},"#, 1);
    same(&call("may", &wish).await.unwrap(), &task);
    world.server.saw(r#"tools/call {"name":"may","task":{"ttl":7}}"#, 1).await;
    call("not", &wish).await.unwrap();
    world.server.saw(r#"tools/call {"name":"not"}"#, 2).await;

    let before = world.server.count("tools/call");
    let error = call("must", "").await.unwrap_err();
    assert_eq!((error.json_rpc_code(), error.data.unwrap().as_str()), (-32021, tasks::MISSING_DATA));
    assert_eq!(world.server.count("tools/call"), before, "nothing was sent");
}

#[tokio::test]
async fn a_task_is_asked_for_with_its_outcome() {
    let related = r#""_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}"#;
    let result = |text: &str| Some(Ok(json(&format!(r#"{{{text},{related}}}"#))));
    let check = async |status, result, expected: &str| {
        let got = World::new(status, result).await.get().await.unwrap();
        same(&got, expected);
        assert!(got.as_str().starts_with(r#"{"resultType":"complete","#), "{got:?}");
    };
    let new = |status: &str, more: &str| format!(r#"{},"resultType":"complete"{more}}}"#, new_task(status));
    check("working", None, &new("working", "")).await;
    check("cancelled", None, &new("cancelled", "")).await;
    check("completed", result(r#""content":[1]"#), &new("completed", r#","result":{"content":[1]}"#)).await;
    check("failed", result(r#""isError":true"#), &new("completed", r#","result":{"isError":true}"#)).await;
    let error = r#","error":{"code":-32603,"message":"rate limit"}"#;
    check("failed", Some(refused(-32603, "rate limit")), &new("failed", error)).await;

    let world = World::new("working", None).await;
    let unknown = world.ask(Method::TasksGet, &format!(r#"{{"taskId":"u",{DECLARED}}}"#)).await.unwrap_err();
    assert_eq!(unknown.json_rpc_code(), codes::INVALID_PARAMS);
    for method in [Method::TasksGet, Method::TasksUpdate, Method::TasksCancel] {
        let undeclared = world.ask(method.clone(), r#"{"taskId":"t"}"#).await.unwrap_err();
        assert_eq!(undeclared.json_rpc_code(), codes::MISSING_CLIENT_CAPABILITY, "{method}");
        let nameless = world.ask(method, &format!("{{{DECLARED}}}")).await.unwrap_err();
        assert_eq!(nameless.json_rpc_code(), codes::INVALID_PARAMS);
    }
}

#[tokio::test]
async fn input_of_a_task_goes_through_its_open_result() {
    let world = World::new("input_required", None).await;
    let (asked, ()) = tokio::join!(world.asked(), async {
        world.server.saw(r#"tasks/result {"taskId":"t"}"#, 1).await;
        world.elicit(70).await;
    });
    let key_of = |task: &Json| task.get("inputRequests").unwrap().entries().next().unwrap().key();
    let key = key_of(&asked);
    let request = r#"{"method":"elicitation/create","params":{"message":"?","requestedSchema":{}}}"#;
    let expected =
        format!(r#"{},"resultType":"complete","inputRequests":{{"{key}":{request}}}}}"#, new_task("input_required"));
    same(&asked, &expected);
    same(&world.get().await.unwrap(), &expected);

    same(&world.update(r#"{"other":{"action":"accept"}}"#).await.unwrap(), r#"{"resultType":"complete"}"#);
    assert_eq!(world.update(&format!(r#"{{"{key}":7}}"#)).await.unwrap_err().json_rpc_code(), codes::INVALID_PARAMS);
    same(
        &world.update(&format!(r#"{{"{key}":{{"action":"accept"}}}}"#)).await.unwrap(),
        r#"{"resultType":"complete"}"#,
    );
    let answer = r#"{"jsonrpc":"2.0","id":70,"result":{"action":"accept","_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}}"#;
    world.server.saw(answer, 1).await;
    world.update(&format!(r#"{{"{key}":{{"action":"decline"}}}}"#)).await.unwrap();
    assert_eq!(world.server.count("\"id\":70"), 1, "answered once");

    // It works again, so nothing is held any more; then it asks once more, under another key.
    world.set("working");
    same(&world.get().await.unwrap(), &format!(r#"{},"resultType":"complete"}}"#, new_task("working")));
    world.server.saw("-tasks/result", 1).await;
    world.set("input_required");
    let (again, ()) = tokio::join!(world.asked(), async {
        world.server.saw("tasks/result {", 2).await;
        world.elicit(71).await;
    });
    let second = key_of(&again);
    assert_ne!(second, key);
    // An error of a client's user interface reaches the server as one.
    let error = spanwire_mcp::input::error_response(&spanwire_mcp::ErrorObject::new(-1, "no"));
    world.update(&format!(r#"{{"{second}":{}}}"#, error.as_str())).await.unwrap();
    world.server.saw(r#"{"jsonrpc":"2.0","id":71,"error":{"code":-1,"message":"no"}}"#, 1).await;
}

#[tokio::test]
async fn what_a_client_cannot_be_asked_is_refused_to_the_server() {
    let world = World::new("input_required", None).await;
    let only_tasks = r#"{"taskId":"t","_meta":{"io.modelcontextprotocol/clientCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}}"#;
    world.elicit(5).await;
    let refused = async {
        while world.server.count("\"id\":5") == 0 {
            let got = world.ask(Method::TasksGet, only_tasks).await.unwrap();
            same(&got, &format!(r#"{},"resultType":"complete"}}"#, new_task("working")));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, refused).await.unwrap();
    let refusal = world.server.saw("\"id\":5", 1).await;
    assert!(refusal.contains(r#""code":-32601"#), "{refusal}");
}

#[tokio::test]
async fn requests_end_with_their_task() {
    let world = World::new("input_required", None).await;
    // It may ask before anyone has asked for it.
    world.elicit(8).await;
    world.asked().await;
    world.set("cancelled");
    same(&world.get().await.unwrap(), &format!(r#"{},"resultType":"complete"}}"#, new_task("cancelled")));
    let refusal = world.server.saw("\"id\":8", 1).await;
    assert!(refusal.contains("error"), "{refusal}");
    world.server.saw("-tasks/result", 1).await;

    // The server takes a request back.
    world.set("input_required");
    world.elicit(9).await;
    let first = world.asked().await.get("inputRequests").unwrap().entries().next().unwrap().key();
    world.server.notify(Method::Cancelled, r#"{"requestId":9}"#).await;
    world.elicit(10).await;
    let left = tokio::time::timeout(LONG, async {
        loop {
            let requests = world.asked().await.get("inputRequests").unwrap();
            if world.server.count("\"id\":9") == 0
                && requests.entries().count() == 1
                && !requests.as_str().contains(&first)
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    left.await.unwrap();
    // A new session has forgotten everything.
    world.server.say(Unasked::SessionRenewed).await;
    world.server.saw("-tasks/result", 2).await;
    assert_eq!(world.server.count("\"id\":9"), 0);
    assert_eq!(world.server.count("\"id\":10"), 0);
}

#[tokio::test]
async fn requests_that_belong_to_no_task_are_left_alone() {
    let world = World::new("working", None).await;
    world.server.ask(3, Method::Ping, r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#).await;
    world.server.saw(r#"{"jsonrpc":"2.0","id":3,"result":{}}"#, 1).await;
    world.server.ask(4, Method::RootsList, "{}").await;
    world.server.saw(r#"{"jsonrpc":"2.0","id":4,"result":{"roots":[]}}"#, 1).await;
}

#[tokio::test]
async fn cancelling_is_acknowledged() {
    let cancel = async |world: &World, id: &str| {
        world.ask(Method::TasksCancel, &format!(r#"{{"taskId":"{id}",{DECLARED}}}"#)).await
    };
    let world = World::new("working", None).await;
    same(&cancel(&world, "t").await.unwrap(), r#"{"resultType":"complete"}"#);
    world.server.saw(r#"tasks/cancel {"taskId":"t"}"#, 1).await;
    // Over already: no error in the extension.
    world.set("completed");
    same(&cancel(&world, "t").await.unwrap(), r#"{"resultType":"complete"}"#);
    assert_eq!(cancel(&world, "u").await.unwrap_err().json_rpc_code(), codes::INVALID_PARAMS);
}

#[tokio::test]
async fn listeners_hear_of_a_task_until_it_is_over() {
    let world = World::new("working", Some(Ok(json(r#"{"content":[]}"#)))).await;
    let params = format!(r#"{{"notifications":{{"taskIds":["t","t"]}},{DECLARED}}}"#);
    let mut listen = world.connected.upstream.call(call(Method::Listen, &params));
    let mut next = async || match tokio::time::timeout(LONG, listen.next()).await.unwrap() {
        Some(Event::Notification(told)) => (told.method, told.params.unwrap()),
        other => panic!("{other:?}"),
    };
    let (method, acknowledged) = next().await;
    assert_eq!(method, Method::SubscriptionAcknowledged);
    same(&acknowledged, r#"{"notifications":{"taskIds":["t"]}}"#);
    let (method, now) = next().await;
    assert_eq!(method, Method::TaskStatus);
    same(&now, &format!("{}}}", new_task("working")));
    world.set("completed");
    world.server.notify(Method::LegacyTaskStatus, &old_task("completed")).await;
    let (_, done) = next().await;
    same(&done, &format!(r#"{},"result":{{"content":[]}}}}"#, new_task("completed")));

    let undeclared = r#"{"notifications":{"taskIds":["t"]}}"#;
    let error = world.ask(Method::Listen, undeclared).await.unwrap_err();
    assert_eq!(error.json_rpc_code(), codes::MISSING_CLIENT_CAPABILITY);
}

#[tokio::test]
async fn a_modern_servers_task_notifications_pass() {
    let server = Script::modern(|_| None);
    let connected = server.connect().await;
    let params = format!(r#"{{"notifications":{{"taskIds":["t"]}},{DECLARED}}}"#);
    let mut listen = connected.upstream.call(call(Method::Listen, &params));
    assert!(futures::poll!(listen.next()).is_pending());
    let sent = server.saw("subscriptions/listen", 1).await;
    assert!(sent.contains(r#""notifications":{"taskIds":["t"]}"#), "{sent}");
    let task = format!(r#"{},"_meta":{{"io.modelcontextprotocol/subscriptionId":2}}}}"#, new_task("working"));
    server.notify(Method::TaskStatus, &task).await;
    let Some(Event::Notification(told)) = listen.next().await else { panic!("nothing was told") };
    assert_eq!(told.method, Method::TaskStatus);
    assert_eq!(told.params.unwrap().as_str(), format!("{}}}", new_task("working")));
}
