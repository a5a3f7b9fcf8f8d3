//! A server that does what its script says, and tells what was done to it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_stream::stream;
use async_trait::async_trait;
use spanwire_mcp::{Era, ErrorObject, Json, Method, Notification, Revision, string_literal};
use spanwire_model::{
    Connected, Connector, Error, ErrorKind, Event, ListKind, Notice, Outcome, Reply, Result, ServerFacts, ServerSpec,
    Upstream, UpstreamCall,
};
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Longest that anything here is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// What the next attempts to connect meet; after the last one they succeed.
pub(super) enum Connect {
    Works,
    Fails,
    Hangs,
}

/// What was done to a server.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) connects: Vec<(ServerSpec, Option<Era>)>,
    /// Everything but lists.
    pub(super) calls: Vec<UpstreamCall>,
    pub(super) lists: usize,
    /// Replies that came to their outcome.
    pub(super) finished: usize,
    /// Replies that were dropped before.
    pub(super) cancelled: usize,
    pub(super) closed: usize,
}

#[derive(Clone)]
struct Connection {
    notices: mpsc::Sender<Notice>,
    gone: CancellationToken,
    updates: broadcast::Sender<String>,
}

struct State {
    connects: VecDeque<Connect>,
    lists: [Vec<String>; 4],
    connection: Option<Connection>,
    revision: Revision,
    close_hangs: bool,
    lists_hang: bool,
    fails: Option<Error>,
}

/// A server by script.
pub(super) struct Script {
    pub(super) id: String,
    state: Mutex<State>,
    pub(super) seen: watch::Sender<Seen>,
}

impl Script {
    /// A server with these tools, a prompt `greet` and a resource `file:///a`.
    pub(super) fn new(id: &str, tools: &[&str]) -> Arc<Self> {
        let state = State {
            connects: VecDeque::new(),
            lists: [
                tools.iter().map(|name| tool(name)).collect(),
                vec![r#"{"name":"greet"}"#.into()],
                vec![r#"{"uri":"file:///a","name":"a"}"#.into()],
                vec![r#"{"uriTemplate":"file:///{path}","name":"files"}"#.into()],
            ],
            connection: None,
            revision: Revision::CANONICAL,
            close_hangs: false,
            lists_hang: false,
            fails: None,
        };
        Arc::new(Self { id: id.into(), state: Mutex::new(state), seen: watch::channel(Seen::default()).0 })
    }

    pub(super) fn spec(&self) -> ServerSpec {
        let target = format!(r#"{{"stdio":{{"command":"{}"}}}}"#, self.id);
        serde_json::from_str(&format!(r#"{{"id":"{}","target":{target}}}"#, self.id)).unwrap()
    }

    pub(super) fn connects(&self, plan: impl IntoIterator<Item = Connect>) {
        self.state.lock().unwrap().connects.extend(plan);
    }

    pub(super) fn speaks(&self, revision: Revision) {
        self.state.lock().unwrap().revision = revision;
    }

    pub(super) fn close_hangs(&self) {
        self.state.lock().unwrap().close_hangs = true;
    }

    /// Lists never end from now on.
    pub(super) fn lists_hang(&self) {
        self.state.lock().unwrap().lists_hang = true;
    }

    /// Calls end with this error from now on, after whatever else their tool says.
    pub(super) fn fails(&self, error: impl Into<Option<Error>>) {
        self.state.lock().unwrap().fails = error.into();
    }

    /// Changes the tools without a word.
    pub(super) fn set_tools(&self, tools: &[&str]) {
        self.state.lock().unwrap().lists[0] = tools.iter().map(|name| tool(name)).collect();
    }

    /// A single tool, in its own words.
    pub(super) fn set_raw_tool(&self, entry: &str) {
        self.state.lock().unwrap().lists[0] = vec![entry.to_owned()];
    }

    /// Changes the tools and says so.
    pub(super) async fn change_tools(&self, tools: &[&str]) {
        self.set_tools(tools);
        self.say(Notice::ToolsChanged).await;
    }

    pub(super) async fn say(&self, notice: Notice) {
        let connection = self.state.lock().unwrap().connection.clone().unwrap();
        connection.notices.send(notice).await.unwrap();
    }

    /// The connection ends.
    pub(super) async fn die(&self) {
        let connection = self.state.lock().unwrap().connection.take().unwrap();
        connection.gone.cancel();
        let _ = connection.notices.send(Notice::Closed("it died".into())).await;
    }

    /// A resource changes.
    pub(super) fn update(&self, uri: &str) {
        let connection = self.state.lock().unwrap().connection.clone().unwrap();
        connection.updates.send(uri.to_owned()).unwrap();
    }

    /// Waits until what was seen is as wanted.
    pub(super) async fn until(&self, what: &str, wanted: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.subscribe();
        let result = tokio::time::timeout(PATIENCE, seen.wait_for(wanted)).await;
        result.unwrap_or_else(|_| panic!("server {}: not {what} in time", self.id)).unwrap().clone()
    }

    /// How often a tool was called.
    pub(super) fn calls_of(&self, name: &str) -> usize {
        let wanted = string_literal(name);
        let is_it = |call: &&UpstreamCall| call.params.get("name").is_some_and(|name| name.as_str() == wanted);
        self.seen.borrow().calls.iter().filter(is_it).count()
    }
}

pub(super) fn tool(name: &str) -> String {
    format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#)
}

pub(super) fn json(text: impl Into<String>) -> Json {
    Json::from_trusted(text.into())
}

/// Connects scripts by their ids.
pub(super) struct Scripts(pub(super) Vec<Arc<Script>>);

#[async_trait]
impl Connector for Scripts {
    async fn connect(&self, spec: &ServerSpec, known: Option<Era>) -> Result<Connected> {
        let script = self.0.iter().find(|script| script.id == spec.id.as_str()).expect("no such script").clone();
        let (plan, revision) = {
            let mut state = script.state.lock().unwrap();
            (state.connects.pop_front().unwrap_or(Connect::Works), state.revision)
        };
        script.seen.send_modify(|seen| seen.connects.push((spec.clone(), known)));
        match plan {
            Connect::Works => {}
            Connect::Fails => return Err(Error::new(ErrorKind::Unavailable, "the door is locked")),
            Connect::Hangs => std::future::pending().await,
        }
        let (notices, inbox) = mpsc::channel(16);
        let connection = Connection { notices, gone: CancellationToken::new(), updates: broadcast::channel(16).0 };
        script.state.lock().unwrap().connection = Some(connection.clone());
        let facts = ServerFacts {
            revision,
            info: json(format!(r#"{{"name":"{}","version":"1"}}"#, script.id)),
            capabilities: json(r#"{"tools":{},"prompts":{},"resources":{"subscribe":true},"completions":{}}"#),
            instructions: Some(format!("how to use {}", script.id)),
        };
        Ok(Connected { upstream: Arc::new(Line { script, connection }), facts, notices: inbox })
    }
}

/// One connection.
struct Line {
    script: Arc<Script>,
    connection: Connection,
}

#[async_trait]
impl Upstream for Line {
    fn call(&self, call: UpstreamCall) -> Reply {
        let kind = ListKind::ALL.into_iter().find(|kind| kind.method() == call.method);
        if let Some(kind) = kind {
            self.script.seen.send_modify(|seen| seen.lists += 1);
            let state = self.script.state.lock().unwrap();
            if state.lists_hang {
                return lost_with(self.connection.gone.clone());
            }
            let entries = state.lists[kind as usize].join(",");
            return Reply::ready(Ok(json(format!(
                r#"{{"{}":[{entries}],"ttlMs":1000,"cacheScope":"public"}}"#,
                kind.member()
            ))));
        }
        self.script.seen.send_modify(|seen| seen.calls.push(call.clone()));
        let (mut guard, connection) = (Guard(self.script.clone(), false), self.connection.clone());
        let fails = self.script.state.lock().unwrap().fails.clone();
        Reply::new(stream! {
            if connection.gone.is_cancelled() {
                guard.finished();
                yield Event::Done(Err(Error::new(ErrorKind::Unavailable, "not connected")));
                return;
            }
            match call.method {
                Method::Listen => {
                    let mut updates = connection.updates.subscribe();
                    loop {
                        tokio::select! {
                            () = connection.gone.cancelled() => break,
                            uri = updates.recv() => {
                                let Ok(uri) = uri else { break };
                                let params = json(format!(r#"{{"uri":"{uri}","_meta":{{"io.modelcontextprotocol/subscriptionId":1}}}}"#));
                                yield Event::Notification(Notification { method: Method::ResourceUpdated, params: Some(params) });
                            }
                        }
                    }
                }
                _ => match behave(&call) {
                    Do::Answer(events, outcome) => {
                        for event in events {
                            yield event;
                        }
                        guard.finished();
                        yield Event::Done(fails.map_or(outcome, Err));
                        return;
                    }
                    Do::Hang => connection.gone.cancelled().await,
                },
            }
            guard.finished();
            yield Event::Done(Err(Error::new(ErrorKind::StreamLost, "the connection ended")));
        })
    }

    async fn close(&self) {
        self.script.seen.send_modify(|seen| seen.closed += 1);
        if self.script.state.lock().unwrap().close_hangs {
            std::future::pending::<()>().await;
        }
        self.connection.gone.cancel();
    }
}

fn lost_with(gone: CancellationToken) -> Reply {
    Reply::once(async move {
        gone.cancelled().await;
        Err(Error::new(ErrorKind::StreamLost, "the connection ended"))
    })
}

/// Counts how a reply ended.
struct Guard(Arc<Script>, bool);

impl Guard {
    fn finished(&mut self) {
        self.1 = true;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.seen.send_modify(|seen| if self.1 { seen.finished += 1 } else { seen.cancelled += 1 });
    }
}

enum Do {
    Answer(Vec<Event>, Outcome),
    Hang,
}

/// What tools and the rest do.
fn behave(call: &UpstreamCall) -> Do {
    let name: String = call.params.get("name").and_then(|name| name.read().ok()).unwrap_or_default();
    let note = |method: Method, params: &str| Notification { method, params: Some(json(params)) };
    let ok = |text: &str| Do::Answer(Vec::new(), Ok(json(text)));
    match (&call.method, &*name) {
        (Method::ToolsCall, "hang") => Do::Hang,
        (Method::ToolsCall, "fail") => {
            let error =
                ErrorObject { data: Some(json(r#"{"why":"because"}"#)), ..ErrorObject::new(-32042, "it failed") };
            Do::Answer(Vec::new(), Err(Error::from_server(error)))
        }
        (Method::ToolsCall, "complain") => ok(r#"{"content":[],"isError":true}"#),
        (Method::ToolsCall, "link") => ok(
            r#"{"content":[{"type":"resource_link","uri":"file:///a","name":"a"}],"structuredContent":{"uri":"mine"}}"#,
        ),
        (Method::ToolsCall, "talk") => Do::Answer(
            vec![
                Event::Progress(note(Method::Progress, r#"{"progressToken":7,"progress":1}"#)),
                Event::Notification(note(Method::LogMessage, r#"{"level":"info","data":"one"}"#)),
                Event::Notification(note(Method::LogMessage, r#"{"level":"info","data":"two"}"#)),
            ],
            Ok(json(r#"{"content":[]}"#)),
        ),
        // Asks for input, unless the call brings some.
        (Method::ToolsCall, "ask") if call.params.get("requestState").is_none() => {
            ok(r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"}},"requestState":"mine"}"#)
        }
        (Method::ToolsCall, "work") => ok(r#"{"resultType":"task","taskId":"mine","status":"working"}"#),
        (Method::TasksGet, _) => {
            let id = call.params.get("taskId").unwrap();
            ok(&format!(
                r#"{{"resultType":"complete","taskId":{id:?},"status":"completed","result":{{"content":[]}}}}"#
            ))
        }
        (Method::ResourcesRead, _) => {
            let uri = call.params.get("uri").unwrap();
            ok(&format!(r#"{{"contents":[{{"uri":{uri:?},"text":""}}]}}"#))
        }
        // Everything else is an echo.
        (method, _) => ok(&format!(r#"{{"method":"{method}","params":{:?}}}"#, call.params)),
    }
}
