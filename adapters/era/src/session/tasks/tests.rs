#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt;
use spanwire_mcp::{Notification, RequestId, Response};
use spanwire_model::{Event, Upstream};

use super::{table::timestamp, *};
use crate::{
    session::{Answered, Ending, Retry, Step, ending, notification},
    tasks::script::{DECLARED, LONG, Script, call, json, new_task, old_task, refused},
    upstream::WireRequest,
};

const RELATED: &str = r#""_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}"#;
const FORM: &str = r#"{"message":"?","requestedSchema":{}}"#;

/// A legacy client at its edge, and a server behind the broker.
struct Client {
    session: Session,
    upstream: Arc<dyn Upstream>,
    /// What the client was sent besides responses: a method with its params.
    told: Vec<String>,
    initialized: Json,
}

impl Client {
    async fn new(revision: &str, server: &Arc<Script>) -> Self {
        let params = format!(
            r#"{{"protocolVersion":"{revision}","capabilities":{{"elicitation":{{}},"tasks":{{}}}},"clientInfo":{{"name":"c","version":"1"}}}}"#
        );
        let session = Session::open(Some(&json(&params))).unwrap();
        let upstream = server.connect().await.upstream;
        // As the registry does when it connects a server.
        upstream.call(call(Method::ToolsList, "{}")).outcome().await.unwrap();
        let discovered = upstream.call(call(Method::Discover, "{}")).outcome().await.unwrap();
        let initialized = session.initialize_result(&discovered);
        Self { session, upstream, told: Vec::new(), initialized }
    }

    fn dispatcher(&self) -> Dispatcher {
        let upstream = self.upstream.clone();
        Arc::new(move |method, params| upstream.call(call(method, params.as_str())))
    }

    /// One request, to its response. What the client is asked it answers by `answer`.
    async fn ask_with(&mut self, method: &str, params: &str, answer: &str) -> Outcome {
        let request = Request { id: RequestId::Number(1), method: Method::from(method), params: Some(json(params)) };
        let (method, original) = (request.method.clone(), request.params.clone());
        let mut task = match self.session.request(&request) {
            Step::Call { .. } => None,
            Step::Task(call) => Some(call),
            Step::Answer(outcome) => return outcome,
            step => panic!("{step:?}"),
        };
        let mut retry = Retry::default();
        loop {
            let params = self.session.retry_params(original.as_ref(), &retry);
            let reply = match &task {
                Some(task) => task.reply(&params, self.dispatcher()),
                None => (self.dispatcher())(method.clone(), params),
            };
            let outcome = self.outcome_of(reply).await;
            if let Some(call) = self.session.through(&method, &outcome).filter(|_| task.is_none()) {
                task = Some(call);
                continue;
            }
            match ending(&method, original.as_ref(), outcome) {
                Ending::Answer(outcome) => return outcome,
                Ending::Input(required) => retry = self.answered(required, answer),
            }
        }
    }

    fn answered(&mut self, required: spanwire_mcp::input::InputRequired, answer: &str) -> Retry {
        for request in self.session.ask(required).unwrap().requests {
            self.told.push(format!("{} {}", request.method, request.params.unwrap().as_str()));
            let response = Response { id: Some(request.id), outcome: Ok(json(answer)) };
            if let Answered::Complete(_, retry) = self.session.answer(response) {
                return retry;
            }
        }
        panic!("nothing was asked")
    }

    async fn outcome_of(&mut self, mut reply: Reply) -> Outcome {
        loop {
            match tokio::time::timeout(LONG, reply.next()).await.unwrap().unwrap() {
                Event::Done(outcome) => return outcome,
                Event::Notification(told) | Event::Progress(told) => {
                    if let Some(told) = notification(self.session.revision(), told) {
                        self.told.push(format!("{} {}", told.method, told.params.unwrap().as_str()));
                    }
                }
            }
        }
    }

    async fn ask(&mut self, method: &str, params: &str) -> Outcome {
        self.ask_with(method, params, "{}").await
    }
}

fn same(got: &Json, expected: &str) {
    assert_eq!(got.to_value(), json(expected).to_value());
}

/// What the one task of a scripted server does: `ask` once it is asked for its result, then done.
#[derive(Default)]
struct Life {
    cancelled: bool,
    asked: bool,
    done: bool,
}

impl Life {
    fn status(&self) -> &'static str {
        match self {
            Self { cancelled: true, .. } => "cancelled",
            Self { done: true, .. } => "completed",
            Self { asked: true, .. } => "input_required",
            _ => "working",
        }
    }
}

/// A server of 2025-11-25 whose tool `must` is a task, and which asks the client once.
fn old_server() -> (Arc<Script>, Arc<Mutex<Life>>) {
    let life = Arc::new(Mutex::new(Life::default()));
    let shared = life.clone();
    let answer = move |request: &WireRequest| {
        let life = shared.lock().unwrap();
        match &request.method {
            Method::ToolsList => {
                Some(Ok(json(r#"{"tools":[{"name":"must","execution":{"taskSupport":"required"}},{"name":"not"}]}"#)))
            }
            Method::ToolsCall if request.params.get("task").is_some() => {
                Some(Ok(json(&format!(r#"{{"task":{}}}"#, old_task("working")))))
            }
            Method::ToolsCall => Some(Ok(json(r#"{"content":[],"isError":true}"#))),
            Method::TasksGet => Some(Ok(json(&old_task(life.status())))),
            Method::TasksResult if life.done => Some(Ok(json(&format!(r#"{{"content":[7],{RELATED}}}"#)))),
            Method::TasksCancel => Some(Ok(json(&old_task("cancelled")))),
            _ => None,
        }
    };
    (Script::legacy(answer), life)
}

/// Plays the server's part of a task that asks once: asks while `tasks/result` is open, and is done when it has the answer.
async fn play(server: Arc<Script>, life: Arc<Mutex<Life>>) {
    server.saw("tasks/get", 1).await;
    life.lock().unwrap().asked = true;
    server.saw(r#"tasks/result {"taskId":"t"}"#, 1).await;
    server.ask(70, Method::ElicitationCreate, &format!(r#"{},{RELATED}}}"#, FORM.strip_suffix('}').unwrap())).await;
    server.saw(r#""id":70,"result""#, 1).await;
    life.lock().unwrap().done = true;
}

#[tokio::test]
async fn old_clients_and_old_servers_meet_in_the_middle() {
    let (server, life) = old_server();
    let mut client = Client::new("2025-11-25", &server).await;
    let tasks = client.initialized.get("capabilities").unwrap().get("tasks").unwrap();
    assert_eq!(tasks.as_str(), r#"{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}"#);
    let list = client.ask("tools/list", "{}").await.unwrap();
    same(&list.get("tools").unwrap(), r#"[{"name":"must","execution":{"taskSupport":"required"}},{"name":"not"}]"#);

    let created = client.ask("tools/call", r#"{"name":"must","task":{"ttl":60000}}"#).await.unwrap();
    same(&created, &format!(r#"{{"task":{}}}"#, old_task("working")));
    server.saw(r#"tools/call {"name":"must","task":{"ttl":60000}}"#, 1).await;
    same(&client.ask("tasks/list", "{}").await.unwrap(), &format!(r#"{{"tasks":[{}]}}"#, old_task("working")));

    let playing = tokio::spawn(play(server.clone(), life));
    let result = client.ask_with("tasks/result", r#"{"taskId":"t"}"#, r#"{"action":"accept","content":{}}"#).await;
    playing.await.unwrap();
    same(&result.unwrap(), &format!(r#"{{"content":[7],{RELATED}}}"#));
    let asked = format!("elicitation/create {},{RELATED}}}", FORM.strip_suffix('}').unwrap());
    assert_eq!(client.told.iter().filter(|told| **told == asked).count(), 1, "{:?}", client.told);
    let now = client.ask("tasks/get", r#"{"taskId":"t"}"#).await.unwrap();
    assert!(client.told.contains(&format!("notifications/tasks/status {}", now.as_str())), "{:?}", client.told);
    let answer = format!(r#"{{"jsonrpc":"2.0","id":70,"result":{{"action":"accept","content":{{}},{RELATED}}}}}"#);
    assert_eq!(server.count(&answer), 1);
    same(&client.ask("tasks/get", r#"{"taskId":"t"}"#).await.unwrap(), &old_task("completed"));
    let error = client.ask("tasks/cancel", r#"{"taskId":"t"}"#).await.unwrap_err();
    assert_eq!(error.json_rpc_code(), -32602);
}

#[tokio::test]
async fn a_cancelled_task_stays_so_for_its_client() {
    // The server acknowledges, and works on.
    let (server, _life) = old_server();
    let mut client = Client::new("2025-11-25", &server).await;
    client.ask("tools/call", r#"{"name":"must","task":{}}"#).await.unwrap();
    server.saw(r#"tools/call {"name":"must","task":{}}"#, 1).await;
    same(&client.ask("tasks/cancel", r#"{"taskId":"t"}"#).await.unwrap(), &old_task("cancelled"));
    server.saw(r#"tasks/cancel {"taskId":"t"}"#, 1).await;
    same(&client.ask("tasks/get", r#"{"taskId":"t"}"#).await.unwrap(), &old_task("cancelled"));
    assert_eq!(client.ask("tasks/cancel", r#"{"taskId":"t"}"#).await.unwrap_err().json_rpc_code(), -32602);
    assert_eq!(client.ask("tasks/result", r#"{"taskId":"t"}"#).await.unwrap_err().json_rpc_code(), -32603);
}

#[tokio::test]
async fn a_tool_that_must_be_a_task_is_seen_through_for_a_client_without_tasks() {
    for revision in ["2025-06-18", "2025-11-25"] {
        let (server, life) = old_server();
        let mut client = Client::new(revision, &server).await;
        let playing = tokio::spawn(play(server.clone(), life));
        let result =
            client.ask_with("tools/call", r#"{"name":"must","arguments":{"a":1}}"#, r#"{"action":"decline"}"#).await;
        playing.await.unwrap();
        same(&result.unwrap(), r#"{"content":[7]}"#);
        assert_eq!(client.told, [format!("elicitation/create {FORM}")], "{revision}");
        server.saw(r#"tools/call {"name":"must","arguments":{"a":1},"task":{"ttl":86400000}}"#, 1).await;
        assert_eq!(server.count("tasks/cancel"), 0);
    }
}

#[tokio::test]
async fn a_task_that_is_seen_through_ends_with_its_request() {
    let (server, _life) = old_server();
    let client = Client::new("2025-06-18", &server).await;
    let refused = Err(crate::tasks::missing_extension("tool \"must\""));
    let call = client.session.through(&Method::ToolsCall, &refused).unwrap();
    assert!(client.session.through(&Method::PromptsGet, &refused).is_none());
    let params = client.session.canonical_params(Some(&json(r#"{"name":"must"}"#)));
    let mut reply = call.reply(&params, client.dispatcher());
    tokio::select! {
        event = reply.next() => panic!("{event:?}"),
        _ = server.saw("tasks/get", 1) => {}
    }
    drop(reply);
    drop(call);
    server.saw(r#"tasks/cancel {"taskId":"t"}"#, 1).await;
}

#[tokio::test]
async fn tasks_of_a_modern_server() {
    let task = |status: &str, more: &str| Some(Ok(json(&format!("{},{more}}}", new_task(status)))));
    let asked = Arc::new(Mutex::new(false));
    let answered = asked.clone();
    let server = Script::modern(move |request| match &request.method {
        Method::ToolsList => Some(Ok(json(r#"{"resultType":"complete","tools":[]}"#))),
        Method::ToolsCall => task(
            "working",
            r#""resultType":"task","_meta":{"io.modelcontextprotocol/model-immediate-response":"wait"},"x":"1""#,
        ),
        Method::TasksUpdate => {
            *answered.lock().unwrap() = true;
            Some(Ok(json(r#"{"resultType":"complete"}"#)))
        }
        Method::TasksGet if *answered.lock().unwrap() => {
            task("failed", r#""resultType":"complete","error":{"code":-5,"message":"no"},"x":"1""#)
        }
        Method::TasksGet => task(
            "input_required",
            &format!(
                r#""resultType":"complete","inputRequests":{{"k":{{"method":"elicitation/create","params":{FORM}}}}},"x":"1""#
            ),
        ),
        Method::TasksCancel => Some(refused(-32602, "unknown")),
        _ => None,
    });
    let mut client = Client::new("2025-11-25", &server).await;
    let created = client.ask("tools/call", r#"{"name":"a","arguments":{},"task":{"ttl":5}}"#).await.unwrap();
    let old = |status: &str| format!(r#"{},"x":"1"}}"#, old_task(status).strip_suffix('}').unwrap());
    let hint = r#""_meta":{"io.modelcontextprotocol/model-immediate-response":"wait"}"#;
    same(&created, &format!(r#"{{"task":{},{hint}}}"#, old("working")));
    let sent = server.saw("tools/call", 1).await;
    let sent = json(sent.strip_prefix("tools/call ").unwrap());
    assert!(tasks::is_declared_by(&sent), "{sent:?}");
    assert!(sent.get("task").is_none() && !sent.as_str().contains(tasks::WISH), "{sent:?}");

    same(&client.ask("tasks/get", r#"{"taskId":"t"}"#).await.unwrap(), &old("input_required"));
    let failed =
        client.ask_with("tasks/result", r#"{"taskId":"t"}"#, &format!(r#"{{"action":"accept",{RELATED}}}"#)).await;
    let error = failed.unwrap_err();
    assert_eq!((error.json_rpc_code(), &*error.public), (-5, "no"));
    let update = server.saw("tasks/update", 1).await;
    assert!(update.contains(r#""inputResponses":{"k":{"action":"accept"}}"#), "{update}");
    assert!(!update.contains("related-task"), "{update}");
    same(&client.ask("tasks/list", "{}").await.unwrap(), &format!(r#"{{"tasks":[{}]}}"#, old("failed")));
}

#[tokio::test]
async fn a_result_that_comes_at_once_is_kept_as_a_task() {
    let server = Script::modern(|request| match &request.method {
        Method::ToolsList => Some(Ok(json(r#"{"resultType":"complete","tools":[]}"#))),
        Method::ToolsCall => Some(Ok(json(r#"{"resultType":"complete","content":[1]}"#))),
        Method::TasksGet => Some(refused(-32602, "unknown task")),
        _ => None,
    });
    let mut client = Client::new("2025-11-25", &server).await;
    let created = client.ask("tools/call", r#"{"name":"a","task":{"ttl":60000}}"#).await.unwrap();
    let task = created.get("task").unwrap();
    assert_eq!(task.get("status").unwrap().as_str(), "\"completed\"");
    assert_eq!(task.get("ttl").unwrap().as_str(), "60000");
    let id = crate::tasks::id_of(&task).unwrap();
    let about = format!(r#"{{"taskId":"{id}"}}"#);
    same(&client.ask("tasks/get", &about).await.unwrap(), task.as_str());
    same(
        &client.ask("tasks/result", &about).await.unwrap(),
        &format!(r#"{{"content":[1],"_meta":{{"io.modelcontextprotocol/related-task":{about}}}}}"#),
    );
    same(&client.ask("tasks/list", "{}").await.unwrap(), &format!(r#"{{"tasks":[{}]}}"#, task.as_str()));
    assert_eq!(client.ask("tasks/cancel", &about).await.unwrap_err().json_rpc_code(), -32602);
    assert_eq!(server.count("tasks/"), 0, "the server knows nothing of it");
    // Another session does not see it.
    let mut other = Client::new("2025-11-25", &server).await;
    assert_eq!(other.ask("tasks/get", &about).await.unwrap_err().json_rpc_code(), -32602);
    same(&other.ask("tasks/list", "{}").await.unwrap(), r#"{"tasks":[]}"#);
    // What is kept for no time is gone.
    client.ask("tools/call", r#"{"name":"a","task":{"ttl":0}}"#).await.unwrap();
    same(&client.ask("tasks/list", "{}").await.unwrap(), &format!(r#"{{"tasks":[{}]}}"#, task.as_str()));
}

#[tokio::test]
async fn a_list_has_pages_and_a_session_has_a_limit() {
    let server = Script::modern(|request| match &request.method {
        Method::ToolsCall => Some(Ok(json(r#"{"content":[]}"#))),
        _ => Some(Ok(json(r#"{"resultType":"complete","tools":[]}"#))),
    });
    let mut client = Client::new("2025-11-25", &server).await;
    for _ in 0..table::MAX_TASKS + 3 {
        client.ask("tools/call", r#"{"name":"a","task":{}}"#).await.unwrap();
    }
    let (mut seen, mut params) = (0, "{}".to_owned());
    loop {
        let page = client.ask("tasks/list", &params).await.unwrap();
        seen += page.get("tasks").unwrap().elements().count();
        let Some(next) = page.get("nextCursor") else { break };
        params = format!(r#"{{"cursor":{}}}"#, next.as_str());
    }
    assert_eq!(seen, table::MAX_TASKS);
    assert_eq!(client.ask("tasks/list", r#"{"cursor":"x"}"#).await.unwrap_err().json_rpc_code(), -32602);
}

#[tokio::test]
async fn what_is_asked_is_asked_once() {
    let server = Script::modern(|request| match &request.method {
        Method::TasksGet => Some(Ok(json(&format!(
            r#"{},"resultType":"complete","inputRequests":{{"k":{{"method":"elicitation/create","params":{{"message":"?"}}}}}}}}"#,
            new_task("input_required")
        )))),
        _ => Some(Ok(json(r#"{"resultType":"complete","tools":[]}"#))),
    });
    let client = Client::new("2025-11-25", &server).await;
    let params = client.session.canonical_params(Some(&json(r#"{"taskId":"t"}"#)));
    let waits = || {
        let call = client.session.tasks.call(What::Result("t".to_owned()));
        (call.reply(&params, client.dispatcher()), call)
    };
    let input = async |reply: &mut Reply| loop {
        match reply.next().await.unwrap() {
            Event::Done(outcome) => return outcome.unwrap().get("inputRequests").is_some(),
            Event::Notification(Notification { method: Method::TaskStatus, .. }) => {}
            event => panic!("{event:?}"),
        }
    };
    let (mut first, holder) = waits();
    assert!(input(&mut first).await);
    let (mut second, _holder) = waits();
    let polled = server.count("tasks/get");
    tokio::select! {
        _ = second.next() => panic!("asked twice"),
        _ = server.saw("tasks/get", polled + 2) => {}
    }
    // Whoever asked has gone without an answer.
    drop((first, holder));
    assert!(input(&mut second).await);
}

#[tokio::test]
async fn tasks_are_unknown_where_they_are_not_announced() {
    let (server, _life) = old_server();
    let mut old = Client::new("2025-06-18", &server).await;
    assert!(old.initialized.get("capabilities").unwrap().get("tasks").is_none());
    for method in ["tasks/get", "tasks/result", "tasks/list", "tasks/cancel"] {
        let error = old.ask(method, r#"{"taskId":"t"}"#).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::MethodNotFound, "{method}");
    }
    let list = old.ask("tools/list", "{}").await.unwrap();
    assert!(!list.as_str().contains("optional"), "{list:?}");
    let mut new = Client::new("2025-11-25", &server).await;
    for (method, params) in [("tasks/get", "{}"), ("tasks/result", r#"{"taskId":7}"#), ("tasks/update", "{}")] {
        assert!(new.ask(method, params).await.is_err(), "{method}");
    }
    assert!(DECLARED.contains(tasks::EXTENSION));
}

#[test]
fn timestamps() {
    let check = |seconds: u64, ms: u64, expected: &str| {
        let at: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(ms);
        assert_eq!(timestamp(at), expected);
    };
    check(0, 0, "1970-01-01T00:00:00.000Z");
    check(951_782_399, 999, "2000-02-28T23:59:59.999Z");
    check(951_782_400, 0, "2000-02-29T00:00:00.000Z");
    check(1_709_251_199, 0, "2024-02-29T23:59:59.000Z");
    check(1_764_064_800, 5, "2025-11-25T10:00:00.005Z");
    check(4_107_542_400, 0, "2100-03-01T00:00:00.000Z");
}
