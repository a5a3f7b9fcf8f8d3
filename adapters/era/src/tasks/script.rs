//! A scripted server for the tests of tasks, on either edge.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use spanwire_mcp::{ErrorObject, Json, Method, Notification, Request, RequestId, Response, Revision};
use spanwire_model::{Connected, EraChoice, Error, Event, Outcome, Reply, Result, UpstreamCall};
use tokio::sync::{mpsc, watch};

use crate::upstream::{Calls, Inbox, Settings, Timeouts, Unasked, Wire, WireRequest, connect};

pub(crate) const LONG: Duration = Duration::from_secs(30);
/// `_meta` of a client that declares the extension and can fill in forms.
pub(crate) const DECLARED: &str = r#""_meta":{"io.modelcontextprotocol/clientCapabilities":{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

pub(crate) fn json(text: &str) -> Json {
    Json::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

pub(crate) fn refused(code: i64, message: &str) -> Outcome {
    Err(Error::from_server(ErrorObject::new(code, message)))
}

type Answer = dyn FnMut(&WireRequest) -> Option<Outcome> + Send;

/// A server: the script answers a request, or leaves it open.
pub(crate) struct Script {
    calls: Arc<Calls>,
    answer: Mutex<Box<Answer>>,
    /// What it was sent: a method with its params, `-method` for what was cancelled, responses as they are.
    log: watch::Sender<Vec<String>>,
    unasked: Mutex<Option<mpsc::Sender<Unasked>>>,
}

struct Line(Arc<Script>);

struct Open(Arc<Script>, Inbox, Method);

impl Drop for Open {
    fn drop(&mut self) {
        if !self.1.is_done() {
            self.0.note(format!("-{}", self.2));
        }
    }
}

impl Script {
    /// A server of 2025-11-25 whose calls may be tasks.
    pub(crate) fn legacy(mut answer: impl FnMut(&WireRequest) -> Option<Outcome> + Send + 'static) -> Arc<Self> {
        Self::new(move |request| match request.method {
            Method::Discover => Some(refused(-32601, "Method not found")),
            Method::Initialize => Some(Ok(json(
                r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}},"serverInfo":{"name":"old"}}"#,
            ))),
            _ => answer(request),
        })
    }

    /// A server of 2026-07-28 with the extension.
    pub(crate) fn modern(mut answer: impl FnMut(&WireRequest) -> Option<Outcome> + Send + 'static) -> Arc<Self> {
        Self::new(move |request| match request.method {
            Method::Discover => Some(Ok(json(
                r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#,
            ))),
            _ => answer(request),
        })
    }

    fn new(answer: impl FnMut(&WireRequest) -> Option<Outcome> + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            calls: Arc::default(),
            answer: Mutex::new(Box::new(answer)),
            log: watch::Sender::default(),
            unasked: Mutex::default(),
        })
    }

    pub(crate) async fn connect(self: &Arc<Self>) -> Connected {
        let (unasked, unasked_rx) = mpsc::channel(16);
        *self.unasked.lock().unwrap() = Some(unasked);
        let mut settings = Settings::new(json(r#"{"name":"us","version":"1"}"#));
        settings.timeouts = Timeouts { probe: LONG, handshake: LONG };
        let wire = Arc::new(Line(self.clone()));
        connect(&"fake".parse().unwrap(), wire, unasked_rx, EraChoice::Auto, None, &settings).await.unwrap()
    }

    fn note(&self, line: String) {
        self.log.send_modify(|log| log.push(line));
    }

    /// Waits until so many lines of the log have this in them; the last of them.
    pub(crate) async fn saw(&self, what: &str, times: usize) -> String {
        let mut log = self.log.subscribe();
        let found = log.wait_for(|log| log.iter().filter(|line| line.contains(what)).count() >= times);
        let found = tokio::time::timeout(LONG, found).await.unwrap_or_else(|_| panic!("never saw {what}")).unwrap();
        found.iter().rfind(|line| line.contains(what)).unwrap().clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.log.borrow().iter().filter(|line| line.contains(what)).count()
    }

    /// Asks something of the client, as a server may at any time.
    pub(crate) async fn ask(&self, id: i64, method: Method, params: &str) {
        let request = Request { id: RequestId::Number(id), method, params: Some(json(params)) };
        self.say(Unasked::Request { request, call: None }).await;
    }

    pub(crate) async fn say(&self, unasked: Unasked) {
        let to = self.unasked.lock().unwrap().clone().unwrap();
        to.send(unasked).await.unwrap();
    }

    pub(crate) async fn notify(&self, method: Method, params: &str) {
        let notification = Notification { method, params: Some(json(params)) };
        if let Some(notification) = self.calls.notify(notification) {
            self.say(Unasked::Notification(notification)).await;
        }
    }
}

#[async_trait]
impl Wire for Line {
    fn request(&self, request: WireRequest) -> Reply {
        let server = self.0.clone();
        Reply::new(async_stream::stream! {
            let inbox = match server.calls.open(request.id, &request.method) {
                Ok(inbox) => inbox,
                Err(error) => {
                    yield Event::Done(Err(error));
                    return;
                }
            };
            let mut open = Open(server.clone(), inbox, request.method.clone());
            server.note(format!("{} {}", request.method, request.params.as_str()));
            let answer = (server.answer.lock().unwrap())(&request);
            if let Some(outcome) = answer {
                server.calls.finish(request.id, outcome);
            }
            loop {
                yield open.1.next().await;
            }
        })
    }

    async fn notify(&self, _: Revision, notification: Notification) -> Result<()> {
        self.0.note(notification.method.to_string());
        Ok(())
    }

    async fn respond(&self, _: Revision, response: Response) -> Result<()> {
        self.0.note(String::from_utf8(response.to_bytes().to_vec()).unwrap());
        Ok(())
    }

    fn silence_is_legacy(&self) -> bool {
        true
    }

    async fn close(&self) {
        self.0.calls.close(&"server \"fake\" was stopped".into());
    }
}

pub(crate) fn call(method: Method, params: &str) -> UpstreamCall {
    UpstreamCall {
        principal: "anna".into(),
        call_id: uuid::Uuid::nil(),
        method,
        params: json(params),
        deadline: tokio::time::Instant::now() + LONG,
        trace: None,
    }
}

/// A task of 2025-11-25, as the server tells of it.
pub(crate) fn old_task(status: &str) -> String {
    format!(
        r#"{{"taskId":"t","status":"{status}","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:01Z","ttl":60000,"pollInterval":250}}"#
    )
}

/// The same as the extension has it, without its closing brace.
pub(crate) fn new_task(status: &str) -> String {
    format!(
        r#"{{"taskId":"t","status":"{status}","createdAt":"2026-01-01T00:00:00Z","lastUpdatedAt":"2026-01-01T00:00:01Z","ttlMs":60000,"pollIntervalMs":250"#
    )
}
