//! The rules of the server edge, against a server in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod behaviour;
mod crosstalk;
mod forms;
mod handshake;
mod input;
mod level;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use spanwire_mcp::{ErrorObject, Json, Method, Notification, Response, Revision};
use spanwire_model::{Connected, EraChoice, Error, Event, Outcome, Reply, Result, UpstreamCall};
use tokio::sync::{mpsc, watch};

use super::*;

const LONG: Duration = Duration::from_secs(30);

fn json(text: &str) -> Json {
    Json::parse(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn refused(code: i64, message: &str) -> Outcome {
    Err(Error::from_server(ErrorObject::new(code, message)))
}

type Script = dyn Fn(&WireRequest) -> Option<Outcome> + Send + Sync;

/// A server in memory: the script answers a request, or leaves it open.
struct Server {
    calls: Arc<Calls>,
    script: Box<Script>,
    /// What was sent: the method with the params, `-method` when it was cancelled.
    log: watch::Sender<Vec<String>>,
    unasked: Mutex<Option<mpsc::Sender<Unasked>>>,
    /// The requests that came: our id, and the params.
    sent: watch::Sender<Vec<(i64, String)>>,
    waits: Mutex<Waits>,
    desk: Mutex<Option<Arc<desk::Desk>>>,
}

struct Fake {
    server: Arc<Server>,
    silence_is_legacy: bool,
}

impl Server {
    fn new(script: impl Fn(&WireRequest) -> Option<Outcome> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            calls: Arc::default(),
            script: Box::new(script),
            log: watch::Sender::default(),
            unasked: Mutex::default(),
            sent: watch::Sender::default(),
            waits: Mutex::default(),
            desk: Mutex::default(),
        })
    }

    async fn connect(self: &Arc<Self>, choice: EraChoice) -> Result<Connected> {
        self.connect_known(choice, None, true).await
    }

    async fn connect_known(
        self: &Arc<Self>,
        choice: EraChoice,
        known: Option<spanwire_mcp::Era>,
        silence_is_legacy: bool,
    ) -> Result<Connected> {
        let (unasked, unasked_rx) = mpsc::channel(16);
        *self.unasked.lock().unwrap() = Some(unasked);
        let mut settings = Settings::new(json(r#"{"name":"us","version":"1"}"#));
        settings.timeouts = Timeouts { probe: Duration::from_millis(30), handshake: Duration::from_millis(200) };
        settings.waits = *self.waits.lock().unwrap();
        let wire = Arc::new(Fake { server: self.clone(), silence_is_legacy });
        let opened = connect::open(&"fake".parse().unwrap(), wire, unasked_rx, choice, known, &settings).await;
        opened.map(|(connected, desk)| {
            *self.desk.lock().unwrap() = Some(desk);
            connected
        })
    }

    /// Our id of the latest request whose params contain the text.
    async fn id_of(&self, part: &str) -> i64 {
        self.id_of_next(part, 0).await
    }

    /// The same, of those that came after so many.
    async fn id_of_next(&self, part: &str, after: usize) -> i64 {
        let find = |sent: &[(i64, String)]| {
            sent.get(after..)?.iter().rev().find(|(_, params)| params.contains(part)).map(|(id, _)| *id)
        };
        let mut sent = self.sent.subscribe();
        let found = tokio::time::timeout(LONG, sent.wait_for(|sent| find(sent).is_some())).await;
        find(&found.unwrap_or_else(|_| panic!("never sent {part}")).unwrap()).unwrap()
    }

    fn sent(&self) -> usize {
        self.sent.borrow().len()
    }

    fn note(&self, line: String) {
        self.log.send_modify(|log| log.push(line));
    }

    /// Waits until a line of the log satisfies the test.
    async fn saw(&self, what: &str) -> String {
        let mut log = self.log.subscribe();
        let found = log.wait_for(|log| log.iter().any(|line| line.contains(what)));
        let found = tokio::time::timeout(LONG, found).await.unwrap_or_else(|_| panic!("never saw {what}")).unwrap();
        found.iter().find(|line| line.contains(what)).unwrap().clone()
    }

    fn count(&self, what: &str) -> usize {
        self.log.borrow().iter().filter(|line| line.contains(what)).count()
    }

    fn unasked(&self) -> mpsc::Sender<Unasked> {
        self.unasked.lock().unwrap().clone().unwrap()
    }

    async fn notify(&self, method: Method, params: &str) {
        let notification = Notification { method, params: Some(json(params)) };
        if let Some(notification) = self.calls.notify(notification) {
            self.unasked().send(Unasked::Notification(notification)).await.unwrap();
        }
    }
}

struct Cancelled(Arc<Server>, Inbox, Method, i64);

impl Drop for Cancelled {
    fn drop(&mut self) {
        if !self.1.is_done() {
            self.0.note(format!("-{} {}", self.2, self.3));
        }
    }
}

#[async_trait]
impl Wire for Fake {
    fn request(&self, request: WireRequest) -> Reply {
        let server = self.server.clone();
        Reply::new(async_stream::stream! {
            let inbox = match server.calls.open(request.id, &request.method) {
                Ok(inbox) => inbox,
                Err(error) => {
                    yield Event::Done(Err(error));
                    return;
                }
            };
            let mut open = Cancelled(server.clone(), inbox, request.method.clone(), request.id);
            server.note(format!("{} {}", request.method, request.params.as_str()));
            server.sent.send_modify(|sent| sent.push((request.id, request.params.as_str().to_owned())));
            if let Some(outcome) = (server.script)(&request) {
                server.calls.finish(request.id, outcome);
            }
            loop {
                yield open.1.next().await;
            }
        })
    }

    async fn notify(&self, revision: Revision, notification: Notification) -> Result<()> {
        self.server.note(format!("{} {revision}", notification.method));
        Ok(())
    }

    async fn respond(&self, _: Revision, response: Response) -> Result<()> {
        self.server.note(String::from_utf8(response.to_bytes().to_vec()).unwrap());
        Ok(())
    }

    fn silence_is_legacy(&self) -> bool {
        self.silence_is_legacy
    }

    async fn close(&self) {
        self.server.calls.close(&"server \"fake\" was stopped".into());
    }
}

/// The answer of a legacy server to `initialize`.
fn initialized(version: &str, capabilities: &str) -> Option<Outcome> {
    let result = format!(
        r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"serverInfo":{{"name":"old"}},"instructions":"be kind"}}"#
    );
    Some(Ok(json(&result)))
}

/// A legacy server with these capabilities; `script` answers what comes after the handshake.
fn legacy(
    capabilities: &'static str,
    script: impl Fn(&WireRequest) -> Option<Outcome> + Send + Sync + 'static,
) -> Arc<Server> {
    Server::new(move |request| match request.method {
        Method::Discover => Some(refused(-32601, "Method not found")),
        Method::Initialize => initialized("2025-06-18", capabilities),
        _ => script(request),
    })
}

/// A modern server with these capabilities.
fn modern(
    capabilities: &'static str,
    script: impl Fn(&WireRequest) -> Option<Outcome> + Send + Sync + 'static,
) -> Arc<Server> {
    Server::new(move |request| match request.method {
        Method::Discover => {
            let result = format!(
                r#"{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{capabilities},"_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"new"}}}}}}"#
            );
            Some(Ok(json(&result)))
        }
        _ => script(request),
    })
}

fn call(method: Method, params: &str) -> UpstreamCall {
    UpstreamCall {
        principal: "anna".into(),
        call_id: uuid_of_nothing(),
        method,
        params: json(params),
        deadline: tokio::time::Instant::now() + LONG,
        trace: None,
    }
}

fn uuid_of_nothing() -> uuid::Uuid {
    uuid::Uuid::nil()
}

async fn next(reply: &mut Reply) -> Event {
    tokio::time::timeout(LONG, futures::StreamExt::next(reply)).await.unwrap().unwrap()
}
