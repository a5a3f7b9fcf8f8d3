//! Bodies of responses: one JSON message, or a stream of events that hold one each.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{StatusCode, header};
use reqwest::Response;
use spanwire_mcp::{ErrorObject, Json, Limits, Message, Method, Parsed};
use spanwire_model::{Error, ErrorKind, Result};
use sse_stream::{Sse, SseStream};

/// What is read of a body that is no message, in bytes.
const MAX_REFUSAL_BYTES: usize = 16 * 1024;
/// What is told of it, in characters.
const MAX_TOLD: usize = 200;

/// The messages of one response.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<Message>> + Send>>;

/// What errors must name.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub server: Arc<str>,
    pub method: Method,
    pub max_bytes: usize,
}

/// One thing in an event stream.
#[derive(Default)]
pub(super) struct StreamItem {
    /// The event's id, for resumption.
    pub id: Option<String>,
    /// How long to wait before the stream is opened again, when the server says so.
    pub retry: Option<Duration>,
    /// The message in it; events without one only set the id.
    pub message: Option<Result<Message>>,
}

impl About {
    /// An error about the server and the method.
    pub(super) fn error(&self, kind: ErrorKind, what: &str) -> Error {
        Error::new(kind, format!("server \"{}\" {what} during {}", self.server, self.method))
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { max_bytes: self.max_bytes, ..Limits::default() }
    }

    fn too_large(&self) -> Error {
        self.error(ErrorKind::TooLarge, &format!("sent a message above {} bytes", self.max_bytes))
    }

    /// What a failure to send means.
    pub(super) fn not_sent(&self, error: &reqwest::Error) -> Error {
        if error.is_connect() {
            let text = format!("server \"{}\" cannot be reached", self.server);
            return Error::new(ErrorKind::Unavailable, text).with_private(chain(error));
        }
        self.error(ErrorKind::StreamLost, "broke the connection").with_private(chain(error))
    }

    fn broken(&self, error: &reqwest::Error) -> Error {
        self.error(ErrorKind::StreamLost, "broke off its reply").with_private(chain(error))
    }

    /// The stream ended without what was waited for.
    pub(super) fn ended(&self) -> Error {
        self.error(ErrorKind::StreamLost, "ended its reply without a response")
    }
}

/// An error with its causes but without the URL, which may hold a secret.
fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        text.push_str(if text.is_empty() { "" } else { ": " });
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The messages of a successful response; anything but JSON and events is an error.
pub(super) fn messages(response: Response, about: About) -> Messages {
    let kind = content_type(&response);
    if is_events(&response) {
        return events(response, about).filter_map(|item| std::future::ready(item.message)).boxed();
    }
    Box::pin(async_stream::stream! {
        if !kind.starts_with("application/json") {
            yield Err(refusal(response, &about).await.0);
            return;
        }
        let body = match read(response, about.max_bytes).await {
            Ok(body) => body,
            Err(Broken::TooLarge) => {
                yield Err(about.too_large());
                return;
            }
            Err(Broken::Http(error)) => {
                yield Err(about.broken(&error));
                return;
            }
        };
        for message in parse(&body, &about) {
            yield message;
        }
    })
}

/// True for a response that is an event stream.
pub(super) fn is_events(response: &Response) -> bool {
    response.status().is_success() && content_type(response).starts_with("text/event-stream")
}

fn content_type(response: &Response) -> String {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.unwrap_or_default().to_ascii_lowercase()
}

fn parse(body: &Bytes, about: &About) -> Vec<Result<Message>> {
    let bad = |error: &dyn std::fmt::Display| {
        about.error(ErrorKind::BadServer, &format!("sent \"{}\", which is {error},", told(body)))
    };
    match Message::parse(body, &about.limits(), true) {
        Ok(Parsed::Single(message)) => vec![Ok(message)],
        Ok(Parsed::Batch(messages)) => {
            messages.into_iter().map(|message| message.map_err(|error| bad(&error))).collect()
        }
        Err(error) => vec![Err(bad(&error))],
    }
}

/// The events of a stream with the messages in them.
pub(super) fn events(response: Response, about: About) -> impl Stream<Item = StreamItem> + Send {
    async_stream::stream! {
        let mut events = std::pin::pin!(raw_events(response, about.clone()));
        while let Some(event) = events.next().await {
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    yield StreamItem { message: Some(Err(error)), ..StreamItem::default() };
                    return;
                }
            };
            let is_message = event.event.as_deref().is_none_or(|name| name == "message");
            let data = event.data.filter(|data| is_message && !data.is_empty());
            let mut parsed = data.map(|data| parse(&data.into(), &about)).unwrap_or_default().into_iter();
            yield StreamItem { id: event.id, retry: event.retry.map(Duration::from_millis), message: parsed.next() };
            for message in parsed {
                yield StreamItem { message: Some(message), ..StreamItem::default() };
            }
        }
    }
}

/// The events of a stream, of whatever name. A single event above the bound ends it, and so does an error.
pub(super) fn raw_events(response: Response, about: About) -> impl Stream<Item = Result<Sse>> + Send {
    async_stream::stream! {
        let unread = Arc::new(AtomicUsize::new(0));
        let (counter, max_bytes) = (unread.clone(), about.max_bytes);
        let chunks = response.bytes_stream().map(move |chunk| {
            let chunk = chunk.map_err(Broken::Http)?;
            let waiting = counter.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
            // One chunk may hold the end of one event and the begin of the next.
            if waiting > max_bytes + chunk.len() { Err(Broken::TooLarge) } else { Ok(chunk) }
        });
        let mut events = std::pin::pin!(SseStream::from_bytes_stream(chunks));
        while let Some(event) = events.next().await {
            unread.store(0, Ordering::Relaxed);
            let event = event.map_err(|error| broken_events(error, &about));
            let last = event.is_err();
            yield event;
            if last {
                return;
            }
        }
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("above the limit")]
    TooLarge,
    #[error("{0}")]
    Http(reqwest::Error),
}

fn broken_events(error: sse_stream::Error, about: &About) -> Error {
    let sse_stream::Error::Body(error) = error else {
        return about.error(ErrorKind::BadServer, &format!("sent a malformed event stream ({error})"));
    };
    match error.downcast_ref::<Broken>() {
        Some(Broken::TooLarge) => about.too_large(),
        Some(Broken::Http(error)) => about.broken(error),
        None => about.ended(),
    }
}

async fn read(response: Response, max_bytes: usize) -> Result<Bytes, Broken> {
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    if announced > max_bytes {
        return Err(Broken::TooLarge);
    }
    let mut chunks = response.bytes_stream();
    let first = match chunks.next().await {
        Some(first) => first.map_err(Broken::Http)?,
        None => return Ok(Bytes::new()),
    };
    // Most bodies are one chunk, which is then taken as it is. The end is read all the same: only then is the connection free.
    let mut body: Option<BytesMut> = None;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(Broken::Http)?;
        let body = body.get_or_insert_with(|| {
            let mut body = BytesMut::with_capacity(announced.max(first.len() + chunk.len()));
            body.extend_from_slice(&first);
            body
        });
        if body.len() + chunk.len() > max_bytes {
            return Err(Broken::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    let body = body.map_or(first, BytesMut::freeze);
    if body.len() > max_bytes { Err(Broken::TooLarge) } else { Ok(body) }
}

/// Reads a body that says nothing, so that its connection can be used again.
pub(super) async fn skip(response: Response) {
    let _ = read(response, MAX_REFUSAL_BYTES).await;
}

/// What a client is told of an HTTP status 503.
const UNSURE: &[u8] = br#"{"kind":"unavailable","retry":"if_idempotent"}"#;

/// What a response that is no result says: as an error of ours, and the JSON-RPC error in its body, if there is one.
pub(super) async fn refusal(response: Response, about: &About) -> (Error, Option<ErrorObject>) {
    let status = response.status();
    let body = read(response, MAX_REFUSAL_BYTES).await.unwrap_or_default();
    if let Ok(Message::Response(response)) = Message::parse_single(&body, &about.limits())
        && let Err(object) = response.outcome
    {
        return (Error::from_server(object.clone()), Some(object));
    }
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::Overloaded,
        StatusCode::SERVICE_UNAVAILABLE => ErrorKind::Unavailable,
        _ => ErrorKind::BadServer,
    };
    let text = told(&body);
    let said = if text.is_empty() { String::new() } else { format!(" and \"{text}\"") };
    let error = about.error(kind, &format!("answered with HTTP status {}{said}", status.as_u16()));
    // A proxy says 503 also when it lost a server that was at work: nobody may take it for a promise that nothing was executed.
    let error = if kind == ErrorKind::Unavailable { error.with_data(Json::from_trusted(UNSURE)) } else { error };
    (error, None)
}

/// The first characters of a body, fit for an error text.
fn told(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..MAX_TOLD * 4).unwrap_or(body));
    text.chars().take(MAX_TOLD).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}
