//! A stdio MCP server for hosts that know only stdio: each line goes to a node's Streamable HTTP endpoint, and what the
//! node answers comes back as lines.
//!
//! The bridge keeps the host's era. A modern request gets the headers that mirror its body and is cancelled by closing
//! its stream; a legacy one travels in the session that the host's `initialize` opened. When the node has lost that
//! session (it was restarted), the bridge opens it again, since a host on stdio cannot; resource subscriptions and the
//! log level of the lost session are then the host's to set again. What the node asks a legacy host in mid-call comes as a
//! line, and the host's response is posted back; a stream that breaks meanwhile is read on.
//!
//! Sources: 2026-07-28 basic/transports/stdio and streamable-http; 2025-11-25 basic/transports.

mod deliver;
mod exchange;
mod resume;
mod session;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use spanwire_mcp::{Limits, Message, Method, Parsed, Request, RequestId, Response, join_lines};
use spanwire_model::{Error, ErrorKind};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tokio_util::{
    codec::{FramedRead, LinesCodec, LinesCodecError},
    sync::CancellationToken,
    task::TaskTracker,
};

use self::session::Session;
use crate::client::params::ParamHeaders;

/// Requests that run at once; a further one is refused.
const MAX_RUNNING: usize = 256;
/// Lines that wait for the host to read them.
const MAX_LINES: usize = 64;
/// Requests that run when stdin ends may take this long to end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection to the node must be there after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines after an `initialize` wait for its answer, which opens the session that they belong to, but not longer than this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// A message without an answer must be accepted after this.
const NOTIFY_TIMEOUT: Duration = Duration::from_secs(10);
/// Responses of the host that are on their way to the node at once; further lines wait.
const MAX_ANSWERS: usize = 32;
/// What the node still says about a request that the host has cancelled is waited for this long.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the bridge could not run. A node that is down is none of these: it is the answer to each request.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// The endpoint is no URL with http or https.
    #[error("\"{0}\" is not an http or https url")]
    Endpoint(String),
    /// The token cannot stand in a header.
    #[error("the token holds characters that a header cannot")]
    Token,
    /// The HTTP client could not be set up.
    #[error("could not set up the http client: {0}")]
    Client(String),
    /// The host's side broke.
    #[error("could not write to stdout: {0}")]
    Stdout(#[from] std::io::Error),
}

/// What the tasks of one bridge share.
struct Bridge {
    client: reqwest::Client,
    endpoint: reqwest::Url,
    lines: mpsc::Sender<Bytes>,
    running: Mutex<HashMap<RequestId, Running>>,
    session: Session,
    /// What tools want mirrored, as far as the node has asked for it.
    params: ParamHeaders,
    answers: Arc<Semaphore>,
    closing: CancellationToken,
}

/// One request that runs.
#[derive(Clone)]
struct Running {
    /// Ends it at once.
    cancelled: CancellationToken,
    /// The host does not wait for it any more.
    unwanted: CancellationToken,
    /// True for a subscription, which ends with the host and not by itself.
    lasting: bool,
}

/// Runs until `stdin` ends: one JSON-RPC message per line in and out, at most 16 MiB each. `token` is sent as a bearer
/// token. Running requests get five seconds to end.
pub async fn run<R, W>(endpoint: String, token: Option<String>, stdin: R, stdout: W) -> Result<(), BridgeError>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let url = reqwest::Url::parse(&endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(endpoint) = url else { return Err(BridgeError::Endpoint(endpoint)) };
    let (lines, receiver) = mpsc::channel(MAX_LINES);
    let writer = tokio::spawn(write_lines(receiver, stdout));
    let bridge = Arc::new(Bridge {
        client: client(&endpoint, token.as_deref())?,
        endpoint,
        lines,
        running: Mutex::default(),
        session: Session::default(),
        params: ParamHeaders::default(),
        answers: Arc::new(Semaphore::new(MAX_ANSWERS)),
        closing: CancellationToken::new(),
    });
    let guard = bridge.closing.clone().drop_guard();
    let tasks = TaskTracker::new();
    bridge.read_lines(stdin, &tasks).await;
    tasks.close();
    // What lasts as long as the host does ends now.
    bridge.session.stop_relay();
    bridge.running().values().filter(|running| running.lasting).for_each(|running| running.cancelled.cancel());
    if timeout(DRAIN_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::debug!(requests = bridge.running().len(), "gave up requests that still ran when stdin ended");
    }
    drop(guard);
    let _ = timeout(DRAIN_TIMEOUT, tasks.wait()).await;
    bridge.end_session().await;
    drop(bridge);
    // A host that does not read any more does not keep the process.
    let stop = writer.abort_handle();
    match timeout(DRAIN_TIMEOUT, writer).await {
        Ok(Ok(written)) => Ok(written?),
        Ok(Err(_)) => Ok(()),
        Err(_) => {
            stop.abort();
            Ok(())
        }
    }
}

fn client(endpoint: &reqwest::Url, token: Option<&str>) -> Result<reqwest::Client, BridgeError> {
    // Fails when the process has chosen already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut headers = http::HeaderMap::new();
    if let Some(token) = token {
        let mut value = http::HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| BridgeError::Token)?;
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
    }
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .default_headers(headers);
    let local = endpoint.host_str().is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
    let builder = if local { builder.no_proxy() } else { builder };
    builder.build().map_err(|error| BridgeError::Client(error.to_string()))
}

/// Writes lines until no task can send any more.
async fn write_lines<W: AsyncWrite + Unpin>(mut lines: mpsc::Receiver<Bytes>, mut stdout: W) -> std::io::Result<()> {
    while let Some(line) = lines.recv().await {
        stdout.write_all(&line).await?;
        if lines.is_empty() {
            stdout.flush().await?;
        }
    }
    stdout.shutdown().await
}

/// A message as a line.
fn line(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 1);
    out.put_slice(message);
    join_lines(&mut out);
    out.put_u8(b'\n');
    out.freeze()
}

impl Bridge {
    fn running(&self) -> MutexGuard<'_, HashMap<RequestId, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something to the host. A host that has gone hears nothing.
    async fn say(&self, message: &[u8]) {
        let _ = self.lines.send(line(message)).await;
    }

    async fn answer(&self, id: Option<RequestId>, error: &Error) {
        self.say(&Response { id, outcome: Err(error.to_object()) }.to_bytes()).await;
    }

    async fn read_lines<R: AsyncRead + Unpin + Send>(self: &Arc<Self>, stdin: R, tasks: &TaskTracker) {
        let mut lines = FramedRead::new(stdin, LinesCodec::new_with_max_length(Limits::default().max_bytes));
        let mut skipped = false;
        loop {
            let next = tokio::select! {
                next = lines.next() => next,
                () = self.lines.closed() => return,
            };
            match next {
                Some(Ok(line)) if line.trim().is_empty() => {}
                Some(Ok(line)) => self.take(Bytes::from(line), tasks).await,
                Some(Err(error)) => {
                    let error = match error {
                        LinesCodecError::MaxLineLengthExceeded => {
                            Error::new(ErrorKind::TooLarge, "line is above the limit of 16 MiB")
                        }
                        LinesCodecError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                            Error::new(ErrorKind::Malformed, "line is not UTF-8")
                        }
                        LinesCodecError::Io(_) => return,
                    };
                    self.answer(None, &error).await;
                    skipped = true;
                }
                // The codec pauses once after an error.
                None if skipped => skipped = false,
                None => return,
            }
        }
    }

    /// Takes one line.
    async fn take(self: &Arc<Self>, body: Bytes, tasks: &TaskTracker) {
        match Message::parse(&body, &Limits::default(), self.session.has_batches()) {
            Ok(Parsed::Single(Message::Request(request))) => self.start(request, body, tasks).await,
            Ok(Parsed::Single(Message::Notification(notification))) => self.notify(notification, body, tasks).await,
            Ok(Parsed::Single(Message::Response(_))) => self.answer_node(body, tasks).await,
            Ok(Parsed::Batch(messages)) => {
                for message in messages {
                    match message {
                        Ok(message) => Box::pin(self.take(message.to_bytes(), tasks)).await,
                        Err(error) => self.say(&error.to_response().to_bytes()).await,
                    }
                }
            }
            Err(error) => self.say(&error.to_response().to_bytes()).await,
        }
    }

    /// Runs a request in a task of its own.
    async fn start(self: &Arc<Self>, request: Request, body: Bytes, tasks: &TaskTracker) {
        let running = Running {
            cancelled: self.closing.child_token(),
            unwanted: CancellationToken::new(),
            lasting: request.method == Method::Listen,
        };
        let refused = {
            let new = running.clone();
            let mut running = self.running();
            let full = running.len() >= MAX_RUNNING;
            match running.entry(request.id.clone()) {
                Entry::Occupied(_) => Some(Error::new(ErrorKind::InvalidRequest, "the request id is in use")),
                Entry::Vacant(_) if full => {
                    Some(Error::new(ErrorKind::Overloaded, format!("more than {MAX_RUNNING} requests run already")))
                }
                Entry::Vacant(vacant) => {
                    vacant.insert(new);
                    None
                }
            }
        };
        if let Some(error) = refused {
            self.answer(Some(request.id), &error).await;
            return;
        }
        let bridge = self.clone();
        let opens = request.method == Method::Initialize;
        let task = tasks.spawn(async move {
            let asked = tokio::select! {
                biased;
                () = running.over() => Ok(()),
                asked = Box::pin(bridge.ask(&request, body, &running.unwanted)) => asked,
            };
            if running.is_unwanted() {
                // It gave its id back, which may be another request's by now.
                return;
            }
            bridge.running().remove(&request.id);
            if let Err(error) = asked {
                tracing::debug!(private = error.private.as_deref(), "a request failed: {error}");
                bridge.answer(Some(request.id), &error).await;
            }
        });
        if opens && timeout(HANDSHAKE_TIMEOUT, task).await.is_err() {
            tracing::debug!("the node has not answered initialize yet");
        }
    }
}

impl Running {
    /// Ends when the request is to end, at the latest some time after the host has cancelled it.
    async fn over(&self) {
        let last_words = async {
            self.unwanted.cancelled().await;
            sleep(LAST_WORDS_TIMEOUT).await;
        };
        tokio::select! {
            () = self.cancelled.cancelled() => {}
            () = last_words => {}
        }
    }

    fn is_unwanted(&self) -> bool {
        self.unwanted.is_cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(line(b"{\r\n\"a\":1}"), "{  \"a\":1}\n");
    }

    #[tokio::test]
    async fn an_endpoint_must_be_a_url() {
        for endpoint in ["", "127.0.0.1:7400", "ftp://x/", "file:///x"] {
            let ran = run(endpoint.to_owned(), None, tokio::io::empty(), tokio::io::sink()).await;
            assert!(matches!(ran, Err(BridgeError::Endpoint(_))), "{endpoint}");
        }
        let ran =
            run("http://localhost/".to_owned(), Some("a\nb".to_owned()), tokio::io::empty(), tokio::io::sink()).await;
        assert!(matches!(ran, Err(BridgeError::Token)));
    }
}
