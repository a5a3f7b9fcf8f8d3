//! A scripted broker.

use std::sync::{Arc, Mutex};

use futures::{StreamExt, stream};
use serde_json::{Value, json};
use spanwire_mcp::{
    Json, Method, Notification, Params,
    mirror::{self, Mirrored},
    tasks,
};
use spanwire_model::{Call, Dispatch, Error, ErrorKind, Event, Reply};
use tokio::sync::{broadcast, mpsc};

/// Answers by method and tool name, and remembers what it was asked.
pub(super) struct Double {
    pub(super) calls: Mutex<Vec<Call>>,
    /// Goes to every open listen stream.
    pub(super) changes: broadcast::Sender<Notification>,
    /// What the one task was answered.
    task: Mutex<Option<Value>>,
    /// Progress of every running "paced"; 0 ends it.
    pub(super) paces: broadcast::Sender<u32>,
    ended: mpsc::UnboundedSender<String>,
    ends: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Default for Double {
    fn default() -> Self {
        let (ended, ends) = mpsc::unbounded_channel();
        Self {
            calls: Mutex::default(),
            changes: broadcast::Sender::new(16),
            task: Mutex::default(),
            paces: broadcast::Sender::new(512),
            ended,
            ends: ends.into(),
        }
    }
}

/// Reports that a reply was dropped.
struct Dropped(mpsc::UnboundedSender<String>, String);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(std::mem::take(&mut self.1));
    }
}

fn json_of(value: &Value) -> Json {
    Json::from_trusted(value.to_string())
}

pub(super) fn notification(method: &str, params: Value) -> Notification {
    Notification { method: Method::from(method), params: Some(json_of(&params)) }
}

fn done(value: &Value) -> Event {
    Event::Done(Ok(json_of(value)))
}

/// The input schema of the tool `sql`, whose clients mirror arguments.
fn sql_schema() -> Value {
    json!({"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "limit": {"type": "integer", "x-mcp-header": "Limit"},
        "options": {"type": "object", "properties": {"dry": {"type": "boolean", "x-mcp-header": "Dry-Run"}}},
        "query": {"type": "string"},
    }})
}

impl Double {
    /// The name of the next reply that is dropped.
    pub(super) async fn dropped(&self) -> String {
        super::soon(async { self.ends.lock().await.recv().await }).await.unwrap()
    }

    pub(super) fn last(&self) -> Call {
        self.calls.lock().unwrap().last().unwrap().clone()
    }

    fn watched(&self, name: &str, events: Vec<Event>, forever: bool) -> Reply {
        let guard = Dropped(self.ended.clone(), name.to_owned());
        let rest = if forever { stream::pending().left_stream() } else { stream::empty().right_stream() };
        Reply::new(stream::iter(events).chain(rest).map(move |event| {
            let _ = &guard;
            event
        }))
    }

    fn tool(&self, call: &Call) -> Reply {
        let params = Params::read(Some(&call.params)).unwrap();
        let token = params.meta.progress_token.map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
        let progress = |n: u32| {
            Event::Progress(notification("notifications/progress", json!({"progressToken": token, "progress": n})))
        };
        let result = json!({"resultType": "complete", "content": [], "structuredContent": call.params.to_value()});
        match params.name.as_deref().unwrap_or_default() {
            "sql" | "echo" | "gr\u{fc}\u{df}e" => Reply::ready(Ok(Json::from_trusted(
                // A body as a modern server may send it: first member, and with line breaks.
                format!(
                    "{{\"resultType\":\"complete\",\n\"content\":[],\"structuredContent\":{}}}",
                    call.params.as_str()
                ),
            ))),
            "progress" => self.watched("progress", vec![progress(1), progress(2), done(&result)], false),
            "stuck" => self.watched("stuck", vec![progress(1)], true),
            "forever" => self.watched("forever", vec![], true),
            "input" => Reply::ready(Ok(json_of(&json!({"resultType": "input_required", "inputRequests": {}})))),
            "asks" => self.asks(call, &token),
            "paced" => {
                let guard = Dropped(self.ended.clone(), "paced".to_owned());
                let paces = (self.paces.subscribe(), guard, token, result);
                Reply::new(stream::unfold(paces, |(mut paces, guard, token, result)| async move {
                    let event = match paces.recv().await.ok()? {
                        0 => done(&result),
                        n => Event::Progress(notification(
                            "notifications/progress",
                            json!({"progressToken": token, "progress": n}),
                        )),
                    };
                    Some((event, (paces, guard, token, result)))
                }))
            }
            "missing" => {
                Reply::ready(Err(Error { code: Some(-32002), ..Error::new(ErrorKind::Server, "no such resource") }))
            }
            "task" if !tasks::is_declared_by(&call.params) => {
                let data = Json::from_trusted(tasks::MISSING_DATA);
                Reply::ready(Err(Error::new(ErrorKind::MissingCapability, "only as a task").with_data(data)))
            }
            "task" => Reply::ready(Ok(task("working", &json!({"resultType": "task"})))),
            "busy" => Reply::ready(Err(Error::new(ErrorKind::Overloaded, "too much at once"))),
            name => Reply::ready(Err(Error::new(ErrorKind::InvalidParams, format!("unknown tool \"{name}\"")))),
        }
    }

    /// Asks what `arguments.rounds` says, round after round, and answers with the last call's params. The round is the
    /// `requestState`; `arguments.stateless` has none, and so one round.
    fn asks(&self, call: &Call, token: &Value) -> Reply {
        let params = call.params.to_value();
        let state = params["requestState"].as_str();
        let round: usize = state.map_or(0, |state| state.strip_prefix("round \"").unwrap().parse().unwrap());
        let asked = params["arguments"]["rounds"].get(round).cloned();
        let stateless = params["arguments"]["stateless"] == true;
        let progress = notification("notifications/progress", json!({"progressToken": token, "progress": 1}));
        let mut events = if token.is_null() { vec![] } else { vec![Event::Progress(progress)] };
        if let Some(asked) = asked.filter(|_| !stateless || params.get("inputResponses").is_none()) {
            let mut result = json!({"resultType": "input_required"});
            if asked.as_object().is_some_and(|asked| !asked.is_empty()) {
                result["inputRequests"] = asked;
            }
            if !stateless {
                result["requestState"] = json!(format!("round \"{}", round + 1));
            }
            events.push(done(&result));
        } else if params["arguments"]["hangs"] == true {
            return self.watched("hangs", events, true);
        } else {
            events.push(done(&json!({"resultType": "complete", "content": [], "structuredContent": params})));
        }
        self.watched("asks", events, false)
    }

    /// The one task asks once, and its result is the answer.
    fn task(&self, call: &Call) -> Reply {
        let mut answer = self.task.lock().unwrap();
        if call.method == Method::TasksUpdate {
            *answer = Some(call.params.to_value()["inputResponses"].clone());
        }
        let asked = json!({"who": {"method": "elicitation/create", "params": {"message": "?", "requestedSchema": {}}}});
        let state = match (&call.method, &*answer) {
            (Method::TasksGet, None) => task("input_required", &json!({"inputRequests": asked})),
            (Method::TasksGet, Some(answer)) => {
                task("completed", &json!({"result": {"content": [], "structuredContent": answer}}))
            }
            _ => json_of(&json!({"resultType": "complete"})),
        };
        Reply::ready(Ok(state))
    }

    fn listen(&self, call: &Call) -> Reply {
        let filter = call.params.get("notifications").unwrap().to_value();
        if filter["resourceSubscriptions"].as_array().is_some_and(|uris| uris.contains(&json!("x:unknown"))) {
            let mut filter = filter;
            filter["resourceSubscriptions"] = json!([]);
            let ack = notification("notifications/subscriptions/acknowledged", json!({"notifications": filter}));
            return self.watched("refused", vec![Event::Notification(ack)], true);
        }
        let ack = notification("notifications/subscriptions/acknowledged", json!({"notifications": filter}));
        let changes = self.changes.subscribe();
        let guard = Dropped(self.ended.clone(), "listen".to_owned());
        let updates = stream::unfold((changes, guard), |(mut changes, guard)| async move {
            let change = changes.recv().await.ok()?;
            Some((Event::Notification(change), (changes, guard)))
        });
        Reply::new(stream::once(std::future::ready(Event::Notification(ack))).chain(updates))
    }
}

/// The double's one task, with more members.
fn task(status: &str, more: &Value) -> Json {
    let mut task = json!({
        "resultType": "complete", "taskId": "t", "status": status, "createdAt": "2026-01-01T00:00:00Z",
        "lastUpdatedAt": "2026-01-01T00:00:00Z", "ttlMs": 1000, "pollIntervalMs": 100,
    });
    task.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json_of(&task)
}

impl Dispatch for Double {
    fn dispatch(&self, call: Call) -> Reply {
        self.calls.lock().unwrap().push(call.clone());
        match &call.method {
            Method::Discover if call.view.is_some() => Reply::ready(Ok(json_of(&json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 1000, "cacheScope": "private",
                "capabilities": {"tools": {}, "extensions": {"io.modelcontextprotocol/tasks": {}}},
            })))),
            Method::Discover => Reply::ready(Ok(json_of(&json!({
                "resultType": "complete", "supportedVersions": ["2026-07-28"], "ttlMs": 1000, "cacheScope": "private",
                "capabilities": {"tools": {}, "resources": {}, "prompts": {}, "completions": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "double", "version": "1"}},
            })))),
            Method::ToolsList => Reply::ready(Ok(json_of(&json!({
                "resultType": "complete", "tools": [
                    {"name": "echo", "inputSchema": {"type": "object"}}, {"name": "sql", "inputSchema": sql_schema()},
                ],
                "ttlMs": 1000, "cacheScope": "private",
            })))),
            Method::ToolsCall => self.tool(&call),
            Method::ResourcesRead => {
                let uri = call.params.get("uri").map(|uri| uri.to_value()).unwrap_or_default();
                Reply::ready(Err(Error::new(ErrorKind::InvalidParams, format!("unknown resource {uri}"))))
            }
            Method::Listen => self.listen(&call),
            Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => self.task(&call),
            other => Reply::ready(Err(Error::new(ErrorKind::MethodNotFound, format!("unknown method \"{other}\"")))),
        }
    }

    fn has_view(&self, _: &spanwire_model::Principal, view: &str) -> bool {
        view == "work"
    }

    fn mirrored(&self, _: &spanwire_model::Principal, _: Option<&str>, tool: &str) -> Option<Arc<[Mirrored]>> {
        (tool == "sql").then(|| mirror::annotations(&json_of(&sql_schema())).unwrap().into())
    }
}
