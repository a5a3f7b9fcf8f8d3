//! A small MCP server on two streams, for hosts of both eras.
//!
//! Modern requests carry their revision in `_meta`; a legacy host opens with `initialize`. Both may come on one
//! connection. Requests run side by side; a cancelled one stops and is not answered.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use spanwire_mcp::{
    ErrorObject, Json, Limits, Message, Method, Notification, Params, Request, RequestId, Response, Revision, codes,
    meta,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

const MAX_LINE_BYTES: usize = 1024 * 1024;
const MAX_RUNNING: usize = 64;
const MAX_LISTENERS: usize = 16;
const OUTBOX: usize = 64;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
const TTL_MS: u64 = 60_000;

/// What a server offers.
#[async_trait]
pub(crate) trait DemoServer: Send + Sync + 'static {
    /// Its name in `serverInfo`.
    fn name(&self) -> &'static str;
    /// What a model is told.
    fn instructions(&self) -> &'static str;
    /// The entries of `tools/list`: an array.
    fn tools(&self) -> Value;
    /// The entries of `resources/list`; `None` when it has no resources at all.
    fn resources(&self) -> Option<Vec<Value>> {
        None
    }
    /// The contents of a resource.
    fn read(&self, _uri: &str) -> Option<Value> {
        None
    }
    /// Runs a tool; `None` when there is none of this name.
    async fn call(&self, tool: &str, arguments: &Value, asked: &Asked) -> Option<ToolOutcome>;
}

/// What a tool gives back.
pub(crate) struct ToolOutcome {
    result: Value,
    resources_changed: bool,
}

impl ToolOutcome {
    /// A text.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        let result = json!({ "content": [{ "type": "text", "text": text.into() }] });
        Self { result, resources_changed: false }
    }

    /// A failure that the model may read.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        let mut outcome = Self::text(text);
        outcome.result["isError"] = true.into();
        outcome
    }

    /// Adds `structuredContent`.
    pub(crate) fn with_structured(mut self, value: Value) -> Self {
        self.result["structuredContent"] = value;
        self
    }

    /// Adds a content block.
    pub(crate) fn with_block(mut self, block: Value) -> Self {
        if let Some(content) = self.result["content"].as_array_mut() {
            content.push(block);
        }
        self
    }

    /// The list of resources is another one now.
    pub(crate) fn with_resources_changed(self) -> Self {
        Self { resources_changed: true, ..self }
    }
}

/// Who asked, for progress.
pub(crate) struct Asked {
    token: Option<Value>,
    outbox: mpsc::Sender<Bytes>,
}

impl Asked {
    /// Tells how far the tool is, if the caller wants to know.
    pub(crate) async fn progress(&self, done: usize, total: usize, message: &str) {
        if let Some(token) = &self.token {
            let params = json!({ "progressToken": token, "progress": done, "total": total, "message": message });
            // The reader of the outbox is gone only when the process ends.
            let _ = self.outbox.send(notification(Method::Progress, &params)).await;
        }
    }
}

/// Serves MCP on stdin and stdout until stdin ends.
pub(crate) async fn serve(server: impl DemoServer) -> io::Result<()> {
    serve_on(server, tokio::io::stdin(), tokio::io::stdout()).await
}

/// Serves MCP on two streams until the first one ends.
pub(super) async fn serve_on(
    server: impl DemoServer,
    input: impl AsyncRead + Unpin,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let (outbox, lines) = mpsc::channel::<Bytes>(OUTBOX);
    let session =
        Arc::new(Session { server, outbox, is_initialized: AtomicBool::new(false), listeners: Mutex::default() });
    let writing = async {
        // Owned here, so that a writer that fails also ends those who wait to be read.
        let mut lines = lines;
        while let Some(line) = lines.recv().await {
            output.write_all(&line).await?;
            output.write_all(b"\n").await?;
            output.flush().await?;
        }
        Ok(())
    };
    // Reading owns the last sender, so writing ends when reading has.
    let reading = async {
        read(session, input).await;
        Ok(())
    };
    tokio::try_join!(reading, writing).map(|_| ())
}

async fn read<S: DemoServer>(session: Arc<Session<S>>, input: impl AsyncRead + Unpin) {
    let mut input = FramedRead::new(input, LinesCodec::new_with_max_length(MAX_LINE_BYTES));
    let mut tasks: JoinSet<RequestId> = JoinSet::new();
    let mut running: HashMap<RequestId, AbortHandle> = HashMap::new();
    loop {
        tokio::select! {
            Some(ended) = tasks.join_next() => {
                if let Ok(id) = ended {
                    running.remove(&id);
                }
            }
            line = input.next(), if tasks.len() < MAX_RUNNING => match line {
                None | Some(Err(LinesCodecError::Io(_))) => break,
                Some(Err(LinesCodecError::MaxLineLengthExceeded)) => {
                    let error = ErrorObject::new(codes::INVALID_REQUEST, "the line is too long");
                    session.send(Response { id: None, outcome: Err(error) }.to_bytes()).await;
                }
                Some(Ok(line)) => match Message::parse_single(&Bytes::from(line), &Limits::default()) {
                    Err(error) => session.send(error.to_response().to_bytes()).await,
                    Ok(Message::Request(request)) => {
                        let (id, session) = (request.id.clone(), session.clone());
                        let key = id.clone();
                        let task = tasks.spawn(async move {
                            session.answer(request).await;
                            id
                        });
                        running.insert(key, task);
                    }
                    Ok(Message::Notification(notification)) => session.take(&notification, &mut running),
                    Ok(Message::Response(_)) => {}
                },
            },
        }
    }
    // What was asked before the input ended is still answered.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await;
    tasks.shutdown().await;
}

struct Session<S> {
    server: S,
    outbox: mpsc::Sender<Bytes>,
    is_initialized: AtomicBool,
    /// The `subscriptions/listen` requests that want changes of the resources.
    listeners: Mutex<Vec<RequestId>>,
}

/// How an answer is dressed for the era of the asker.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Modern,
    Legacy,
}

impl<S: DemoServer> Session<S> {
    async fn send(&self, line: Bytes) {
        // The reader of the outbox is gone only when the process ends.
        let _ = self.outbox.send(line).await;
    }

    fn take(&self, notification: &Notification, running: &mut HashMap<RequestId, AbortHandle>) {
        if notification.method != Method::Cancelled {
            return;
        }
        let id = notification.params.as_ref().and_then(|params| params.get("requestId"));
        let Some(id) = id.and_then(|id| id.read::<RequestId>().ok()) else { return };
        if let Some(task) = running.remove(&id) {
            task.abort();
        }
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).retain(|listener| *listener != id);
    }

    async fn answer(&self, request: Request) {
        if request.method == Method::Listen {
            self.listen(&request).await;
            return;
        }
        let id = request.id.clone();
        let outcome = self.outcome(&request).await;
        let outcome = outcome.map(|result| Json::from_trusted(result.to_string()));
        self.send(Response { id: Some(id), outcome }.to_bytes()).await;
    }

    async fn outcome(&self, request: &Request) -> Result<Value, ErrorObject> {
        let params =
            Params::read(request.params.as_ref()).map_err(|text| ErrorObject::new(codes::INVALID_PARAMS, text))?;
        let speaks = self.era(&request.method, &params)?;
        match &request.method {
            Method::Initialize => Ok(self.initialize(request)),
            Method::Ping if speaks == Speaks::Legacy => Ok(json!({})),
            Method::Discover => Ok(self.dressed(self.discovery(), speaks, true)),
            Method::ToolsList => Ok(self.dressed(json!({ "tools": self.server.tools() }), speaks, true)),
            Method::ToolsCall => {
                let result = self.call(&params, speaks).await?;
                Ok(self.dressed(result, speaks, false))
            }
            Method::ResourcesList if self.server.resources().is_some() => {
                Ok(self.dressed(json!({ "resources": self.server.resources() }), speaks, true))
            }
            Method::ResourceTemplatesList if self.server.resources().is_some() => {
                Ok(self.dressed(json!({ "resourceTemplates": [] }), speaks, true))
            }
            Method::ResourcesRead if self.server.resources().is_some() => {
                let uri = params.uri.as_deref().unwrap_or_default();
                let contents = self.server.read(uri).ok_or_else(|| no_resource(uri, speaks))?;
                Ok(self.dressed(json!({ "contents": [contents] }), speaks, true))
            }
            other => Err(ErrorObject::new(codes::METHOD_NOT_FOUND, format!("there is no method {other}"))),
        }
    }

    fn era(&self, method: &Method, params: &Params<'_>) -> Result<Speaks, ErrorObject> {
        match params.meta.protocol_version.as_deref() {
            Some(version) if version == Revision::CANONICAL.as_str() => Ok(Speaks::Modern),
            Some(version) => {
                let data = json!({ "supported": Revision::ALL.map(Revision::as_str), "requested": version });
                let error = ErrorObject::new(codes::UNSUPPORTED_PROTOCOL_VERSION, "unsupported protocol version");
                Err(ErrorObject { data: Some(Json::from_trusted(data.to_string())), ..error })
            }
            None if *method == Method::Initialize || self.is_initialized.load(Ordering::Relaxed) => Ok(Speaks::Legacy),
            None if *method == Method::Discover => Ok(Speaks::Modern),
            None => {
                let text = format!("{method} needs {} in _meta, or initialize before it", meta::PROTOCOL_VERSION);
                Err(ErrorObject::new(codes::INVALID_PARAMS, text))
            }
        }
    }

    fn info(&self) -> Value {
        json!({ "name": self.server.name(), "version": env!("CARGO_PKG_VERSION") })
    }

    fn capabilities(&self) -> Value {
        match self.server.resources() {
            None => json!({ "tools": {} }),
            Some(_) => json!({ "tools": {}, "resources": { "listChanged": true } }),
        }
    }

    fn discovery(&self) -> Value {
        json!({
            "supportedVersions": Revision::ALL.map(Revision::as_str),
            "capabilities": self.capabilities(),
            "instructions": self.server.instructions(),
        })
    }

    fn initialize(&self, request: &Request) -> Value {
        self.is_initialized.store(true, Ordering::Relaxed);
        let asked = request.params.as_ref().and_then(|params| params.get("protocolVersion"));
        let asked = asked.and_then(|version| version.read::<String>().ok()).and_then(|version| version.parse().ok());
        let spoken = asked.filter(|revision| *revision <= Revision::LATEST_LEGACY).unwrap_or(Revision::LATEST_LEGACY);
        json!({
            "protocolVersion": spoken.as_str(),
            "capabilities": self.capabilities(),
            "serverInfo": self.info(),
            "instructions": self.server.instructions(),
        })
    }

    fn dressed(&self, mut result: Value, speaks: Speaks, cacheable: bool) -> Value {
        if speaks == Speaks::Modern {
            result["resultType"] = "complete".into();
            result["_meta"] = json!({ meta::SERVER_INFO: self.info() });
            if cacheable {
                result["ttlMs"] = TTL_MS.into();
                result["cacheScope"] = "public".into();
            }
        }
        result
    }

    async fn call(&self, params: &Params<'_>, speaks: Speaks) -> Result<Value, ErrorObject> {
        let invalid = |text: String| ErrorObject::new(codes::INVALID_PARAMS, text);
        let tool = params.name.as_deref().ok_or_else(|| invalid("name is missing".to_owned()))?;
        let read = |raw: &serde_json::value::RawValue| serde_json::from_str::<Value>(raw.get()).ok();
        let arguments = params.arguments.and_then(read).unwrap_or_else(|| json!({}));
        let asked = Asked { token: params.meta.progress_token.and_then(read), outbox: self.outbox.clone() };
        let outcome = self.server.call(tool, &arguments, &asked).await;
        let outcome = outcome.ok_or_else(|| invalid(format!("there is no tool \"{tool}\"")))?;
        if outcome.resources_changed {
            self.tell_listeners(speaks).await;
        }
        Ok(outcome.result)
    }

    /// A listen request is answered by its notifications; its response comes when it ends, which it does not here.
    async fn listen(&self, request: &Request) {
        let params = Params::read(request.params.as_ref()).unwrap_or_default();
        let wanted = params.notifications.unwrap_or_default();
        let honoured = wanted.resources_list_changed && self.server.resources().is_some() && {
            let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
            let free = listeners.len() < MAX_LISTENERS;
            if free {
                listeners.push(request.id.clone());
            }
            free
        };
        let filter = if honoured { json!({ "resourcesListChanged": true }) } else { json!({}) };
        let params = json!({ "_meta": { meta::SUBSCRIPTION_ID: request.id }, "notifications": filter });
        self.send(notification(Method::SubscriptionAcknowledged, &params)).await;
    }

    async fn tell_listeners(&self, speaks: Speaks) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for id in listeners {
            let params = json!({ "_meta": { meta::SUBSCRIPTION_ID: id } });
            self.send(notification(Method::ResourcesListChanged, &params)).await;
        }
        if speaks == Speaks::Legacy {
            self.send(notification(Method::ResourcesListChanged, &json!({}))).await;
        }
    }
}

fn no_resource(uri: &str, speaks: Speaks) -> ErrorObject {
    let code = match speaks {
        Speaks::Modern => codes::INVALID_PARAMS,
        Speaks::Legacy => codes::LEGACY_RESOURCE_NOT_FOUND,
    };
    ErrorObject::new(code, format!("there is no resource \"{uri}\""))
}

fn notification(method: Method, params: &Value) -> Bytes {
    Notification { method, params: Some(Json::from_trusted(params.to_string())) }.to_bytes()
}
