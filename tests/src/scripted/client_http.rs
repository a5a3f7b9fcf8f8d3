//! A scripted client over Streamable HTTP.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;
use async_trait::async_trait;
use bytes::BytesMut;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use spanwire_mcp::{Revision, header};
use tokio::task::AbortHandle;

use super::{
    client::{Client, Declared, Got, Inbox, Wire},
    is_modern,
};
use crate::node::http_client;

/// A wire over HTTP. With several endpoints, each message goes to the next one.
pub struct HttpClient {
    http: reqwest::Client,
    endpoints: Vec<String>,
    next: AtomicUsize,
    token: String,
    revision: Revision,
    inbox: Arc<Inbox>,
    session: Arc<Mutex<Option<String>>>,
    running: Mutex<HashMap<String, AbortHandle>>,
}

impl HttpClient {
    /// Opens a client.
    pub async fn open(endpoints: Vec<String>, token: &str, declared: Declared) -> Result<Client> {
        let (inbox, questions) = Inbox::new();
        let wire = Arc::new(Self {
            http: http_client(),
            endpoints,
            next: AtomicUsize::new(0),
            token: token.to_owned(),
            revision: declared.revision,
            inbox: inbox.clone(),
            session: Arc::default(),
            running: Mutex::default(),
        });
        Client::open(wire, inbox, questions, declared).await
    }

    fn session(&self) -> Option<String> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn authorised(&self, request: RequestBuilder) -> RequestBuilder {
        let mut request = request.header("authorization", format!("Bearer {}", self.token));
        if let Some(session) = self.session() {
            request = request.header(header::SESSION_ID, session);
            if self.revision >= Revision::V2025_06_18 {
                request = request.header(header::PROTOCOL_VERSION, self.revision.as_str());
            }
        }
        request
    }

    fn endpoint(&self) -> &str {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.endpoints.len();
        &self.endpoints[at]
    }

    /// Headers that mirror a modern body. Those in `replaced` come instead; an empty value leaves one out.
    fn mirrored(&self, mut request: RequestBuilder, message: &Value, replaced: &[(String, String)]) -> RequestBuilder {
        let mut all: Vec<(String, String)> = Vec::new();
        if is_modern(self.revision) {
            let params = &message["params"];
            all.push((header::PROTOCOL_VERSION.into(), self.revision.as_str().into()));
            all.push((header::METHOD.into(), message["method"].as_str().unwrap_or_default().into()));
            let name = match message["method"].as_str().unwrap_or_default() {
                "tools/call" | "prompts/get" => &params["name"],
                "resources/read" => &params["uri"],
                "tasks/get" | "tasks/update" | "tasks/cancel" => &params["taskId"],
                _ => &Value::Null,
            };
            if let Some(name) = name.as_str() {
                all.push((header::NAME.into(), header::encode_name(name).into_owned()));
            }
        }
        all.retain(|(name, _)| !replaced.iter().any(|(other, _)| other == name));
        all.extend(replaced.iter().filter(|(_, value)| !value.is_empty()).cloned());
        for (name, value) in all {
            request = request.header(name, value);
        }
        request
    }

    fn follow(&self, id: Value, request: RequestBuilder) {
        let (inbox, session, key) = (self.inbox.clone(), self.session.clone(), id.to_string());
        let reading = tokio::spawn(async move {
            let outcome = async {
                let response = request.send().await?;
                let status = response.status().as_u16();
                if let Some(opened) = response.headers().get(header::SESSION_ID).and_then(|id| id.to_str().ok()) {
                    *session.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened.to_owned());
                }
                let answered = read(response, |message| {
                    inbox.push(Got { on: id.clone(), status, message });
                })
                .await?;
                Ok::<_, reqwest::Error>((status, answered))
            };
            let closed = match outcome.await {
                Ok((_, true)) => return,
                Ok((status, false)) => json!({ "closed": status }),
                Err(error) => json!({ "closed": error.to_string() }),
            };
            inbox.push(Got { on: id, status: 0, message: closed });
        });
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(key, reading.abort_handle());
    }

    /// The session's own stream.
    fn listen(&self) {
        let request = self.authorised(self.http.get(self.endpoint())).header("accept", "text/event-stream");
        let inbox = self.inbox.clone();
        let reading = tokio::spawn(async move {
            if let Ok(response) = request.send().await {
                let status = response.status().as_u16();
                let _ = read(response, |message| inbox.push(Got { on: Value::Null, status, message })).await;
            }
        });
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert("GET".to_owned(), reading.abort_handle());
    }
}

impl Drop for HttpClient {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(AbortHandle::abort);
    }
}

#[async_trait]
impl Wire for HttpClient {
    async fn send(&self, message: &Value, headers: &[(String, String)]) -> Result<()> {
        let request = self
            .authorised(self.http.post(self.endpoint()))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(message.to_string());
        let request = self.mirrored(request, message, headers);
        if message.get("method").is_some() && message.get("id").is_some() {
            self.follow(message["id"].clone(), request);
            return Ok(());
        }
        let response = request.send().await?;
        anyhow::ensure!(response.status().as_u16() == 202, "{message} was answered with {}", response.status());
        if message["method"] == "notifications/initialized" {
            self.listen();
        }
        Ok(())
    }

    fn end(&self, id: &Value) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&id.to_string());
        running.inspect(AbortHandle::abort).is_some()
    }
}

/// Reads JSON or events; true when a response was among them.
async fn read(mut response: Response, mut push: impl FnMut(Value)) -> reqwest::Result<bool> {
    let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let (events, mut answered, mut buffer) = (kind.starts_with("text/event-stream"), false, BytesMut::new());
    let mut take = |text: &[u8]| {
        let Ok(message) = serde_json::from_slice::<Value>(text) else { return };
        answered |= message.get("method").is_none();
        push(message);
    };
    while let Some(chunk) = response.chunk().await? {
        buffer.extend_from_slice(&chunk);
        while events && let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let event = buffer.split_to(end + 2);
            let lines = event[..].split(|byte| *byte == b'\n');
            lines.filter_map(|line| line.strip_prefix(b"data:")).for_each(&mut take);
        }
    }
    if !events && !buffer.is_empty() {
        take(&buffer);
    }
    Ok(answered)
}
