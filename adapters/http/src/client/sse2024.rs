//! One server over HTTP+SSE, the transport of 2024-11-05: one event stream for everything that the server says, and a
//! second address to post to, which the stream names first (2024-11-05, basic/transports, "HTTP with SSE").
//!
//! The stream is the connection: when it ends, everything ends, and whoever wants the server connects again.

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderMap, StatusCode};
use reqwest::{Response as HttpResponse, Url};
use spanwire_era::upstream::{Calls, Unasked, Wire, WireRequest};
use spanwire_mcp::{Message, Method, Notification, Parsed, RequestId, Response, Revision, WireError};
use spanwire_model::{Error, ErrorKind, Event, Reply, Result, ServerId};
use sse_stream::Sse;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Config, Endpoint,
    body::{self, About},
    cancel::{CancelOnDrop, Tell},
    headers,
};

/// Longest address that a server may name, in bytes.
const MAX_ADDRESS_BYTES: usize = 8 * 1024;
/// Messages that came unasked and wait to be looked at; the stream waits with the next one.
const MAX_UNASKED: usize = 256;

type Events = Pin<Box<dyn Stream<Item = Result<Sse>> + Send>>;

/// A server as a wire. Dropping it closes the stream, which is what ends the session.
pub(super) struct Sse2024Wire {
    inner: Arc<Inner>,
    _stop_on_drop: DropGuard,
}

/// What the reader and the replies of one server share.
struct Inner {
    server: ServerId,
    endpoint: Endpoint,
    config: Arc<Config>,
    /// Where messages are posted to.
    address: Url,
    calls: Arc<Calls>,
    stop: CancellationToken,
    unasked: mpsc::Sender<Unasked>,
}

impl Sse2024Wire {
    /// Opens the stream and waits for the address. Everything together takes the control time-out at most.
    ///
    /// # Errors
    /// When there is no such stream, or the address lies elsewhere than the stream.
    pub(super) async fn open(
        server: &ServerId,
        endpoint: Endpoint,
        config: Arc<Config>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<Unasked>)> {
        let about = About {
            server: server.as_str().into(),
            method: Method::Other("the event stream".into()),
            max_bytes: config.max_body_bytes,
        };
        let within = config.control_timeout;
        let late =
            || about.error(ErrorKind::Unavailable, &format!("named no address within {} ms", within.as_millis()));
        let (events, address) = timeout(within, connect(&endpoint, &about)).await.map_err(|_| late())??;
        let (unasked, unasked_rx) = mpsc::channel(MAX_UNASKED);
        let stop = CancellationToken::new();
        let calls = Arc::default();
        let server = server.clone();
        let inner = Arc::new(Inner { server, endpoint, config, address, calls, stop: stop.clone(), unasked });
        tokio::spawn(inner.clone().read(events, about));
        Ok((Arc::new(Self { inner, _stop_on_drop: stop.drop_guard() }), unasked_rx))
    }
}

async fn connect(endpoint: &Endpoint, about: &About) -> Result<(Events, Url)> {
    let headers = headers::of_session(&endpoint.headers, None, None);
    let sent = endpoint.client.get(endpoint.url.clone()).headers(headers).send().await;
    let response = sent.map_err(|error| about.not_sent(&error))?;
    if !body::is_events(&response) {
        return Err(body::refusal(response, about).await.0);
    }
    let base = response.url().clone();
    let mut events: Events = Box::pin(body::raw_events(response, about.clone()));
    let first = events.next().await.ok_or_else(|| about.ended())??;
    let named = first.data.filter(|_| first.event.as_deref() == Some("endpoint"));
    let named = named.ok_or_else(|| about.error(ErrorKind::BadServer, "did not begin with the event \"endpoint\""))?;
    let address = address(&base, &named).map_err(|what| about.error(ErrorKind::BadServer, what))?;
    Ok((events, address))
}

/// The address, which may be relative. Headers may be secret and messages are: they go to no other origin.
fn address(base: &Url, named: &str) -> Result<Url, &'static str> {
    if named.len() > MAX_ADDRESS_BYTES {
        return Err("named an address that is too long");
    }
    let url = base.join(named.trim()).map_err(|_| "named an address that is no URL")?;
    if url.origin() != base.origin() || !url.username().is_empty() || url.password().is_some() {
        return Err("named an address of another origin");
    }
    Ok(url)
}

#[async_trait]
impl Wire for Sse2024Wire {
    fn request(&self, request: WireRequest) -> Reply {
        let inner = self.inner.clone();
        Reply::new(async_stream::stream! {
            let mut inbox = match inner.calls.open(request.id, &request.method) {
                Ok(inbox) => inbox,
                Err(error) => {
                    yield Event::Done(Err(error));
                    return;
                }
            };
            let mut cancel = CancelOnDrop {
                inner: inner.clone(),
                id: request.id,
                revision: request.revision,
                armed: !request.is_uncancellable(),
            };
            // The answer may be on the stream before the POST is answered.
            let mut posting = std::pin::pin!(inner.post(&request));
            let mut posted = false;
            loop {
                let event = tokio::select! {
                    biased;
                    event = inbox.next() => event,
                    outcome = &mut posting, if !posted => match outcome {
                        Ok(()) => {
                            posted = true;
                            continue;
                        }
                        Err(error) => Event::Done(Err(error)),
                    },
                };
                let last = matches!(event, Event::Done(_));
                cancel.armed &= !last;
                yield event;
                if last {
                    return;
                }
            }
        })
    }

    async fn notify(&self, revision: Revision, notification: Notification) -> Result<()> {
        self.inner.tell(revision, notification.to_bytes(), &notification.method).await
    }

    async fn respond(&self, revision: Revision, response: Response) -> Result<()> {
        let method = Method::Other("an answer to the server".into());
        self.inner.tell(revision, response.to_bytes(), &method).await
    }

    fn silence_is_legacy(&self) -> bool {
        false
    }

    async fn close(&self) {
        self.inner.end(format!("server \"{}\" was stopped", self.inner.server).into());
    }
}

impl Tell for Inner {
    fn server(&self) -> &ServerId {
        &self.server
    }

    async fn tell(&self, revision: Revision, body: Bytes, method: &Method) -> Result<()> {
        let headers = headers::of_post(&self.endpoint.headers, Some(revision), None);
        let late = || self.about(method).error(ErrorKind::StreamLost, "did not take the message");
        timeout(self.config.control_timeout, self.send(headers, body, method)).await.map_err(|_| late())?
    }
}

impl Inner {
    fn about(&self, method: &Method) -> About {
        About { server: self.server.as_str().into(), method: method.clone(), max_bytes: self.config.max_body_bytes }
    }

    async fn post(&self, request: &WireRequest) -> Result<()> {
        let revision = Some(request.revision).filter(|_| request.method != Method::Initialize);
        let mut all = headers::of_post(&self.endpoint.headers, revision, None);
        headers::mirror(&mut all, request);
        self.send(all, request.to_request().to_bytes(), &request.method).await
    }

    /// Posts a message. What is answered to the POST itself says only whether it was taken.
    async fn send(&self, headers: HeaderMap, body: Bytes, method: &Method) -> Result<()> {
        let about = self.about(method);
        let sent = self.endpoint.client.post(self.address.clone()).headers(headers).body(body).send().await;
        let response: HttpResponse = sent.map_err(|error| about.not_sent(&error))?;
        let status = response.status();
        if status.is_success() {
            body::skip(response).await;
            return Ok(());
        }
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE) {
            // It knows the stream no longer, whatever the stream looks like from here.
            self.end(format!("server \"{}\" has lost its session", self.server).into());
            return Err(about.error(ErrorKind::SessionGone, "has lost its session"));
        }
        Err(body::refusal(response, &about).await.0)
    }

    /// Delivers what the server says until the stream ends or is not wanted any more.
    async fn read(self: Arc<Self>, mut events: Events, about: About) {
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.stop.cancelled() => break,
            };
            match event {
                Some(Ok(event)) => {
                    let is_message = event.event.as_deref().is_none_or(|name| name == "message");
                    if let Some(data) = event.data.filter(|data| is_message && !data.is_empty()) {
                        self.take(data.into(), &about).await;
                    }
                }
                Some(Err(error)) => self.end(error.public.to_string().into()),
                None => self.end(format!("server \"{}\" closed its event stream", self.server).into()),
            }
        }
        drop(events);
        let reason = self.calls.closed().unwrap_or_else(|| format!("server \"{}\" was stopped", self.server).into());
        self.calls.close(&reason);
        let _ = self.unasked.send(Unasked::Closed(reason)).await;
    }

    /// Ends the connection; the first reason counts.
    fn end(&self, reason: Arc<str>) {
        self.calls.close(&reason);
        self.stop.cancel();
    }

    async fn take(&self, data: Bytes, about: &About) {
        match Message::parse(&data, &about.limits(), true) {
            Ok(Parsed::Single(message)) => self.deliver(message).await,
            Ok(Parsed::Batch(messages)) => {
                for message in messages {
                    match message {
                        Ok(message) => self.deliver(message).await,
                        Err(error) => self.bad(&error),
                    }
                }
            }
            Err(error) => self.bad(&error),
        }
    }

    /// A message that is none. If it says which call it answers, that call ends.
    fn bad(&self, error: &WireError) {
        tracing::debug!(server = %self.server, %error, "bad message on the event stream");
        if let Some(RequestId::Number(id)) = error.id {
            let text = format!("server \"{}\" answered with something that is {error}", self.server);
            self.calls.finish(id, Err(Error::new(ErrorKind::BadServer, text)));
        }
    }

    async fn deliver(&self, message: Message) {
        let Some(unasked) = self.calls.deliver(self.server.as_str(), message) else { return };
        // A node that is stopping takes nothing any more.
        tokio::select! {
            _ = self.unasked.send(unasked) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_address_is_of_the_same_origin() {
        let base: Url = "https://example.com/a/sse?x=1".parse().unwrap();
        let check = |named: &str, expected: Result<&str, &str>| {
            let got = address(&base, named).map(String::from);
            assert_eq!(got.as_deref().map_err(|error| *error), expected, "{named}");
        };
        check("/message?sessionId=1", Ok("https://example.com/message?sessionId=1"));
        check("message", Ok("https://example.com/a/message"));
        check("?s=1", Ok("https://example.com/a/sse?s=1"));
        check("https://example.com:443/m", Ok("https://example.com/m"));
        let other = Err("named an address of another origin");
        check("https://evil.example/m", other);
        check("//evil.example/m", other);
        check("http://example.com/m", other);
        check("https://example.com:8443/m", other);
        check("https://user@example.com/m", other);
        check("file:///etc/passwd", other);
        check("http://[", Err("named an address that is no URL"));
        check(&"x".repeat(10_000), Err("named an address that is too long"));
    }
}
