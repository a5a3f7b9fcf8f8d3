//! A scripted client over the HTTP with server-sent events of 2024-11-05: `GET` opens the stream, whose first event names the
//! address for everything that the client says.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bytes::BytesMut;
use serde_json::Value;
use tokio::{sync::oneshot, task::AbortHandle, time::timeout};

use super::client::{Client, Declared, Got, Inbox, Wire};
use crate::node::http_client;

/// Longest that the first event may take.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(5);

/// A wire over one stream. Dropping it closes the stream.
pub struct SseClient {
    http: reqwest::Client,
    address: String,
    token: String,
    reading: AbortHandle,
}

impl SseClient {
    /// Opens the stream at an endpoint, and a client on it.
    pub async fn open(endpoint: &str, token: &str, declared: Declared) -> Result<Client> {
        let http = http_client();
        let opened = http
            .get(endpoint)
            .header("authorization", format!("Bearer {token}"))
            .header("accept", "text/event-stream")
            .send()
            .await?;
        ensure!(opened.status().is_success(), "GET {endpoint} was answered with {}", opened.status());
        let (inbox, questions) = Inbox::new();
        let (found, address) = oneshot::channel();
        let reading = tokio::spawn(read(opened, inbox.clone(), found)).abort_handle();
        let address = timeout(ARRIVAL_TIMEOUT, address).await.context("no event came")?.context("the stream ended")?;
        let base = reqwest::Url::parse(endpoint)?;
        let address = base.join(&address)?.to_string();
        let wire = Arc::new(Self { http, address, token: token.to_owned(), reading });
        Client::open(wire, inbox, questions, declared).await
    }
}

async fn read(mut response: reqwest::Response, inbox: Arc<Inbox>, found: oneshot::Sender<String>) {
    let (mut found, mut buffer, status) = (Some(found), BytesMut::new(), response.status().as_u16());
    while let Ok(Some(chunk)) = response.chunk().await {
        buffer.extend_from_slice(&chunk);
        while let Some(end) = buffer.windows(2).position(|pair| pair == b"\n\n") {
            let event = String::from_utf8_lossy(&buffer.split_to(end + 2)).into_owned();
            let member = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let Some(data) = member("data:") else { continue };
            if member("event:") == Some("endpoint") {
                let _ = found.take().map(|found| found.send(data.to_owned()));
            } else if let Ok(message) = serde_json::from_str(data) {
                inbox.push(Got { on: Value::Null, status, message });
            }
        }
    }
}

impl Drop for SseClient {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

#[async_trait]
impl Wire for SseClient {
    async fn send(&self, message: &Value, _: &[(String, String)]) -> Result<()> {
        let request = self
            .http
            .post(&self.address)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(message.to_string());
        let status = request.send().await?.status();
        ensure!(status.is_success(), "{message} was answered with {status}");
        Ok(())
    }

    fn end(&self, _: &Value) -> bool {
        false
    }
}
