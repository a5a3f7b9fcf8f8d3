//! The scripted server behind every transport.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use spanwire_mcp::{Revision, codes, meta};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{
    catalog, content, error, is_modern,
    state::{Listener, Out, State},
    tag_in,
    tape::{Recorder, Way},
    tasks, tools,
};

/// How a server is.
#[derive(Debug, Clone)]
pub struct Options {
    /// The revision that it speaks.
    pub revision: Revision,
    /// Also speaks this older one, to clients that begin with `initialize`.
    pub also: Option<Revision>,
    /// Where it writes down what it says and hears.
    pub tape: PathBuf,
}

/// A scripted server.
#[derive(Debug)]
pub struct Server {
    options: Options,
    pub(super) recorder: Recorder,
    state: Mutex<State>,
    next_ask: AtomicU64,
}

/// Where a message came from, and where what belongs to it goes.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) number: u64,
    /// For messages of the call at hand.
    pub(super) own: Out,
    /// For messages of no call.
    pub(super) general: Out,
    /// Headers that matter.
    pub(super) head: Value,
}

/// A request being answered.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) link: Link,
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) params: Value,
    pub(super) cancelled: CancellationToken,
}

/// Takes a call out of the table; one that was not answered is noted as dropped.
struct Open<'a> {
    server: &'a Server,
    key: (u64, String),
    id: Value,
    answered: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.server.state().open.remove(&self.key);
        self.server.state().listeners.retain(|listener| (listener.connection, listener.id.to_string()) != self.key);
        if !self.answered {
            self.server.recorder.note(Way::Event, self.key.0, &json!({}), &json!({ "dropped": self.id }));
        }
    }
}

impl Server {
    /// A server; fails when its tape cannot be written.
    pub fn new(options: Options) -> std::io::Result<Arc<Self>> {
        let recorder = Recorder::open(&options.tape)?;
        Ok(Arc::new(Self { options, recorder, state: Mutex::default(), next_ask: AtomicU64::new(1) }))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The revision of sessions; the server's own when it has none.
    pub(super) fn session_revision(&self) -> Revision {
        self.options.also.unwrap_or(self.options.revision)
    }

    /// True for a server that only knows sessions.
    pub(super) fn is_legacy(&self) -> bool {
        !is_modern(self.options.revision)
    }

    pub(super) fn revision_of(&self, call: &Call) -> Revision {
        self.revision_for(&call.method, &call.params)
    }

    fn revision_for(&self, method: &str, params: &Value) -> Revision {
        let opens = method == "initialize" || params["_meta"].get(meta::PROTOCOL_VERSION).is_none();
        if opens && method != "server/discover" { self.session_revision() } else { self.options.revision }
    }

    /// Says something to the client.
    pub(super) fn say(&self, out: &Out, connection: u64, message: Value) {
        self.recorder.note(Way::Out, connection, &json!({}), &message);
        let _ = out.send(message);
    }

    /// Tells everyone whom it concerns.
    pub(super) fn tell(&self, method: &str, params: &Value) {
        let concerned = self.state().concerned(method, params);
        for (out, connection, message) in concerned {
            self.say(&out, connection, message);
        }
    }

    /// Notifies the client about the call at hand.
    pub(super) fn notify(&self, call: &Call, method: &str, params: Value) {
        let message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        self.say(&call.link.own, call.link.number, message);
    }

    /// Asks the client something in mid-call, as legacy servers do: the result, or `{"error":…}`.
    pub(super) async fn ask_client(&self, call: &Call, method: &str, params: Value) -> Value {
        let tag = tag_in(&call.params).unwrap_or_default();
        let id = format!("ask-{tag}-{}", self.next_ask.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.state().asked.insert(id.clone(), answer);
        let mut request = json!({ "jsonrpc": "2.0", "id": id, "method": method });
        if !params.is_null() {
            request["params"] = params;
        }
        self.say(&call.link.own, call.link.number, request);
        let message = answered.await.unwrap_or_default();
        match message.get("result") {
            Some(result) => result.clone(),
            None => json!({ "error": message["error"] }),
        }
    }

    /// Takes a message; `None` when it gets no answer.
    pub(super) async fn take(self: &Arc<Self>, link: Link, message: Value) -> Option<Value> {
        self.recorder.note(Way::In, link.number, &link.head, &message);
        let Some(method) = message["method"].as_str().map(str::to_owned) else {
            let asked = message["id"].as_str().and_then(|id| self.state().asked.remove(id));
            asked.map(|asked| asked.send(message));
            return None;
        };
        let Some(id) = message.get("id").cloned() else {
            if method == "notifications/cancelled" {
                let key = (link.number, message["params"]["requestId"].to_string());
                self.state().open.get(&key).inspect(|open| open.cancel());
            }
            return None;
        };
        let cancelled = CancellationToken::new();
        let key = (link.number, id.to_string());
        self.state().open.insert(key.clone(), cancelled.clone());
        let mut open = Open { server: self, key, id: id.clone(), answered: false };
        let call = Call { link, id: id.clone(), method, params: message["params"].clone(), cancelled };
        let outcome = tokio::select! {
            biased;
            () = call.cancelled.cancelled() => {
                open.answered = true;
                self.recorder.note(Way::Event, call.link.number, &json!({}), &json!({ "cancelled": id }));
                // 2026-07-28: a listen stream that the client ends gets no response on stdio either.
                return None;
            }
            outcome = self.answer(&call) => outcome,
        };
        open.answered = true;
        drop(open);
        let response = match outcome {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": self.completed(&call, result) }),
            Err(error) => json!({ "jsonrpc": "2.0", "id": id, "error": error }),
        };
        self.recorder.note(Way::Out, call.link.number, &json!({}), &response);
        Some(response)
    }

    /// A result with what 2026-07-28 requires of it.
    fn completed(&self, call: &Call, mut result: Value) -> Value {
        if is_modern(self.revision_of(call)) {
            if result.get("resultType").is_none() {
                result["resultType"] = "complete".into();
            }
            if content::is_cacheable(&call.method) {
                result["ttlMs"] = content::TTL_MS.into();
                result["cacheScope"] = "public".into();
            }
        }
        result
    }

    async fn answer(self: &Arc<Self>, call: &Call) -> Result<Value, Value> {
        let revision = self.revision_of(call);
        let modern = is_modern(revision);
        match call.method.as_str() {
            "initialize" if !is_modern(self.session_revision()) => {
                let capabilities = call.params["capabilities"].clone();
                self.state().open_session(call.link.number, capabilities, call.link.general.clone());
                Ok(catalog::greeting(self.session_revision()))
            }
            "server/discover" if modern => Ok(catalog::discovery(self.options.revision, self.options.also)),
            "ping" if !modern => Ok(json!({})),
            "tools/list" | "prompts/list" | "resources/list" | "resources/templates/list" => {
                catalog::page(&call.method, &call.params, revision, &self.state().added)
            }
            "tools/call" => tools::call(self, call).await,
            "prompts/get" => tools::prompt(self, call).await,
            "resources/read" => tools::read(self, call).await,
            "completion/complete" => Ok(content::completion(&call.params)),
            "resources/subscribe" | "resources/unsubscribe" | "logging/setLevel" if !modern => self.keep(call),
            "subscriptions/listen" if modern => self.listen(call).await,
            "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" | "tasks/list" => {
                tasks::answer(self, call, revision).await
            }
            "x/echo" => Ok(json!({ "echoed": call.params })),
            other => Err(error(codes::METHOD_NOT_FOUND, &format!("no method {other} here"), Value::Null)),
        }
    }

    /// What a legacy session keeps.
    fn keep(&self, call: &Call) -> Result<Value, Value> {
        let mut state = self.state();
        let gone = || error(codes::INVALID_REQUEST, "no session", Value::Null);
        let session = state.link_mut(call.link.number).ok_or_else(gone)?;
        let text = |key: &str| call.params[key].as_str().unwrap_or_default().to_owned();
        match call.method.as_str() {
            "resources/subscribe" => {
                session.subscribed.insert(text("uri"));
            }
            "resources/unsubscribe" => {
                session.subscribed.remove(&text("uri"));
            }
            _ => session.level = text("level"),
        }
        Ok(json!({}))
    }

    async fn listen(&self, call: &Call) -> Result<Value, Value> {
        let filter = call.params["notifications"].clone();
        let listener = Listener {
            id: call.id.clone(),
            filter: filter.clone(),
            out: call.link.own.clone(),
            connection: call.link.number,
        };
        let acknowledged = json!({ "_meta": { meta::SUBSCRIPTION_ID: call.id }, "notifications": filter });
        self.notify(call, "notifications/subscriptions/acknowledged", acknowledged);
        self.state().listeners.push(listener);
        std::future::pending().await
    }
}
