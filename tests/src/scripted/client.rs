//! The scripted client behind every transport.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use async_trait::async_trait;
use serde_json::{Map, Value, json};
use spanwire_mcp::{Revision, meta};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use super::{is_modern, tags_in};

/// Longest that anything may take to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(6);
/// Rounds of questions that a client goes through with one call.
const MAX_ROUNDS: usize = 8;

/// What a client answers a question with.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A result.
    Result(Value),
    /// A JSON-RPC error; a modern client has no such answer.
    Error(Value),
    /// Nothing, ever.
    Never,
}

/// The script: method and params of a question to its answer.
pub type Answers = Arc<dyn Fn(&str, &Value) -> Answer + Send + Sync>;

/// Who a client says that it is, and what it can do.
#[derive(Debug, Clone)]
pub struct Declared {
    /// The revision that it speaks.
    pub revision: Revision,
    /// Its capabilities.
    pub capabilities: Value,
    /// Its name in `clientInfo`.
    pub name: String,
}

/// One message that came, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Got {
    /// The id of the request on whose own stream it came; null on the stream of a session and on stdio.
    pub on: Value,
    /// The HTTP status of that stream; 0 where there is none.
    pub status: u16,
    /// The message. `{"closed":STATUS}` stands for a stream that ended without a response.
    pub message: Value,
}

/// What carries messages to the broker. What comes back goes into the [`Inbox`] that it was made with.
#[async_trait]
pub trait Wire: Send + Sync {
    /// Sends a message, with further headers where there are any.
    async fn send(&self, message: &Value, headers: &[(String, String)]) -> Result<()>;

    /// Closes the stream of a request, where it has one of its own; false where it has not.
    fn end(&self, id: &Value) -> bool;
}

/// Where everything arrives.
#[derive(Debug)]
pub struct Inbox {
    got: Mutex<Vec<Got>>,
    changed: watch::Sender<()>,
    questions: mpsc::UnboundedSender<Value>,
    /// The tags that this client has had, and the first that was another one's.
    tags: Mutex<(Vec<String>, Option<String>)>,
}

/// A scripted client.
pub struct Client {
    declared: Declared,
    wire: Arc<dyn Wire>,
    inbox: Arc<Inbox>,
    next: AtomicI64,
    answers: Arc<Mutex<Answers>>,
    greeting: Value,
    answering: tokio::task::JoinHandle<()>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inbox {
    /// An inbox, and the questions that arrive in it.
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Value>) {
        let (questions, asked) = mpsc::unbounded_channel();
        let (got, tags) = Default::default();
        (Arc::new(Self { got, changed: watch::Sender::default(), questions, tags }), asked)
    }

    /// Takes what came.
    pub fn push(&self, got: Got) {
        let text = got.message.to_string();
        {
            let mut tags = lock(&self.tags);
            let stray = tags_in(&text).find(|tag| !tags.0.iter().any(|own| own == tag)).map(str::to_owned);
            if let Some(stray) = stray {
                tags.1.get_or_insert(format!("{stray} in {text}"));
            }
        }
        if got.message.get("method").is_some() && got.message.get("id").is_some() {
            let _ = self.questions.send(got.message.clone());
        }
        lock(&self.got).push(got);
        self.changed.send_replace(());
    }
}

impl Client {
    /// Opens a client: legacy ones shake hands.
    pub async fn open(
        wire: Arc<dyn Wire>,
        inbox: Arc<Inbox>,
        mut questions: mpsc::UnboundedReceiver<Value>,
        declared: Declared,
    ) -> Result<Self> {
        let answers: Arc<Mutex<Answers>> = Arc::new(Mutex::new(Arc::new(|_: &str, _: &Value| Answer::Never)));
        let (script, to) = (answers.clone(), wire.clone());
        let answering = tokio::spawn(async move {
            while let Some(question) = questions.recv().await {
                let script = lock(&script).clone();
                let method = question["method"].as_str().unwrap_or_default();
                let answer = match method {
                    "ping" => Answer::Result(json!({})),
                    method => script(method, &question["params"]),
                };
                let mut message = json!({ "jsonrpc": "2.0", "id": question["id"] });
                match answer {
                    Answer::Result(result) => message["result"] = result,
                    Answer::Error(error) => message["error"] = error,
                    Answer::Never => continue,
                }
                // What became of it is seen at the server.
                let _ = to.send(&message, &[]).await;
            }
        });
        let next = AtomicI64::new(1);
        let mut client = Self { declared, wire, inbox, next, answers, greeting: Value::Null, answering };
        if !client.is_modern() {
            let params = json!({
                "protocolVersion": client.declared.revision.as_str(),
                "capabilities": client.declared.capabilities,
                "clientInfo": client.info(),
            });
            let answer = client.ask("initialize", params).await?;
            let version = &answer["result"]["protocolVersion"];
            ensure!(*version == client.declared.revision.as_str(), "initialize was answered with {answer}");
            client.greeting = answer["result"].clone();
            client.notify("notifications/initialized", Value::Null).await?;
        }
        Ok(client)
    }

    /// Begins a run: the tag that everything of it carries, and the answers to what is asked. What came before is forgotten.
    pub fn begin_run(&self, tag: &str, answers: Answers) {
        lock(&self.inbox.tags).0.push(tag.to_owned());
        lock(&self.inbox.got).clear();
        *lock(&self.answers) = answers;
    }

    /// A message that held the tag of another run, if one ever came.
    pub fn stray(&self) -> Option<String> {
        lock(&self.inbox.tags).1.clone()
    }

    /// True for a client of 2026-07-28.
    pub fn is_modern(&self) -> bool {
        is_modern(self.declared.revision)
    }

    /// What it declared.
    pub fn declared(&self) -> &Declared {
        &self.declared
    }

    /// `clientInfo`.
    pub fn info(&self) -> Value {
        json!({ "name": self.declared.name, "version": "1" })
    }

    /// The result of `initialize`; null for a modern client.
    pub fn greeting(&self) -> &Value {
        &self.greeting
    }

    /// Everything that came in this run, in order.
    pub fn got(&self) -> Vec<Got> {
        lock(&self.inbox.got).clone()
    }

    /// Waits until something can be found in what came, and returns it.
    pub async fn wait<T>(&self, what: &str, find: impl Fn(&[Got]) -> Option<T>) -> Result<T> {
        let mut changed = self.inbox.changed.subscribe();
        let found = timeout(ARRIVAL_TIMEOUT, async {
            loop {
                changed.mark_unchanged();
                if let Some(found) = find(&lock(&self.inbox.got)) {
                    return found;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        let shown = || self.got().iter().map(|got| got.message.to_string()).collect::<Vec<_>>().join("\n");
        found.await.with_context(|| format!("the client never got {what}, but\n{}", shown()))
    }

    /// Sends a request, and returns its id. Ids are numbers, the same in all clients, and texts by turns.
    pub async fn begin(&self, method: &str, params: Value, headers: &[(String, String)]) -> Result<Value> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let tag = lock(&self.inbox.tags).0.last().cloned().unwrap_or_default();
        let id: Value = if number % 2 == 0 { number.into() } else { format!("{tag}-{number}").into() };
        let params = self.params(params);
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        self.wire.send(&message, headers).await?;
        Ok(id)
    }

    /// Waits for the response to a request.
    pub async fn response(&self, id: &Value) -> Result<Got> {
        self.wait(&format!("the response to {id}"), |got| {
            let ours = |got: &&Got| got.on == *id || got.message["id"] == *id;
            got.iter().filter(ours).find(|got| got.message.get("method").is_none()).cloned()
        })
        .await
    }

    /// Sends a request and waits for its response.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value> {
        let id = self.begin(method, params, &[]).await?;
        let got = self.response(&id).await?;
        ensure!(got.message["id"] == id, "the response to {id} is {}", got.message);
        Ok(got.message)
    }

    /// Sends a request, answers by the script what it asks, and returns the last response.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value> {
        let mut response = self.ask(method, params.clone()).await?;
        for _ in 0..MAX_ROUNDS {
            let asked = &response["result"];
            if asked["resultType"] != "input_required" {
                return Ok(response);
            }
            let Some(retry) = self.retry(&params, asked)? else { return Ok(response) };
            response = self.ask(method, retry).await?;
        }
        bail!("more than {MAX_ROUNDS} rounds of questions")
    }

    /// The params of the retry; `None` when the script has no answer.
    pub fn retry(&self, params: &Value, asked: &Value) -> Result<Option<Value>> {
        let answers = lock(&self.answers).clone();
        let mut responses = Map::new();
        for (key, question) in asked["inputRequests"].as_object().into_iter().flatten() {
            match answers(question["method"].as_str().unwrap_or_default(), &question["params"]) {
                Answer::Result(result) => responses.insert(key.clone(), result),
                Answer::Error(error) => bail!("a modern client cannot answer with the error {error}"),
                Answer::Never => return Ok(None),
            };
        }
        let mut retry = params.clone();
        retry["inputResponses"] = responses.into();
        if let Some(state) = asked.get("requestState") {
            retry["requestState"] = state.clone();
        }
        Ok(Some(retry))
    }

    /// Sends a notification.
    pub async fn notify(&self, method: &str, params: Value) -> Result<()> {
        let mut message = json!({ "jsonrpc": "2.0", "method": method });
        if !params.is_null() {
            message["params"] = params;
        }
        self.wire.send(&message, &[]).await
    }

    /// Cancels a request in the manner of the revision and the transport.
    pub async fn cancel(&self, id: &Value) -> Result<()> {
        if self.is_modern() && self.wire.end(id) {
            return Ok(());
        }
        self.notify("notifications/cancelled", json!({ "requestId": id, "reason": "enough" })).await
    }

    /// Closes the stream of a request without a word.
    pub fn end(&self, id: &Value) -> bool {
        self.wire.end(id)
    }

    /// Params with the metadata of the revision.
    fn params(&self, mut params: Value) -> Value {
        if self.is_modern() {
            let mut members = json!({
                meta::PROTOCOL_VERSION: self.declared.revision.as_str(),
                meta::CLIENT_CAPABILITIES: self.declared.capabilities,
                meta::CLIENT_INFO: self.info(),
            });
            if let (Some(all), Some(own)) = (members.as_object_mut(), params["_meta"].as_object()) {
                all.extend(own.clone());
            }
            params["_meta"] = members;
        }
        params
    }
}
