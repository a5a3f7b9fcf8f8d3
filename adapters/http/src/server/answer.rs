//! How the messages of one request reach the client: one JSON body when the response comes first, server-sent events
//! otherwise (2026-07-28, basic/transports/streamable-http, "Receiving Messages").

use std::{convert::Infallible, pin::Pin, time::Duration};

use axum::{body::Body, response::Response as HttpResponse};
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use http::{HeaderValue, StatusCode, header};
use spanwire_mcp::join_lines;
use tokio::time::{Instant, timeout, timeout_at};

use super::refusal::json;

/// One message for the client.
pub(crate) enum Out {
    /// What goes before the response: a notification, or a request to a legacy client.
    Notification(Bytes),
    /// The response, and the HTTP status when it is the only message.
    Response(StatusCode, Bytes),
}

/// The messages of one request. A stream that ends without a response was cancelled. Dropping it cancels the call.
pub(crate) type Outgoing = Pin<Box<dyn Stream<Item = Out> + Send>>;

/// What is sent in a silence: a comment.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// How an answer begins.
pub(crate) enum Begun {
    /// It is one JSON body.
    Whole(HttpResponse),
    /// It is an event stream: the messages that are there already, and the rest.
    Stream(Vec<Bytes>, Outgoing),
}

/// Answers one request. After `keep_alive` without a message the answer becomes an event stream, so that no
/// intermediary takes the silence for a failure.
pub(crate) async fn one(outgoing: Outgoing, keep_alive: Duration) -> HttpResponse {
    match begin(outgoing, keep_alive).await {
        Begun::Whole(response) => response,
        Begun::Stream(first, rest) => events(first, rest, keep_alive),
    }
}

/// Begins the answer to one request: an event stream unless the response is the first message and comes within `silence`.
pub(crate) async fn begin(mut outgoing: Outgoing, silence: Duration) -> Begun {
    match timeout(silence, outgoing.next()).await {
        Ok(Some(Out::Response(status, message))) => Begun::Whole(json(status, message)),
        Ok(Some(Out::Notification(message))) => Begun::Stream(vec![message], outgoing),
        Ok(None) | Err(_) => Begun::Stream(Vec::new(), outgoing),
    }
}

/// Begins the answer to a batch (2025-03-26 only): an array when there are only responses and they come in time, events
/// otherwise.
pub(crate) async fn begin_batch(outgoing: Vec<Outgoing>, silence: Duration) -> Begun {
    let mut all: Outgoing = Box::pin(futures::stream::select_all(outgoing));
    let until = Instant::now() + silence;
    let mut responses = Vec::new();
    loop {
        match timeout_at(until, all.next()).await {
            Ok(None) if responses.is_empty() => return Begun::Stream(responses, all),
            Ok(None) => return Begun::Whole(json(StatusCode::OK, array(&responses))),
            Ok(Some(Out::Response(_, message))) => responses.push(message),
            Ok(Some(Out::Notification(message))) => {
                responses.push(message);
                return Begun::Stream(responses, all);
            }
            Err(_) => return Begun::Stream(responses, all),
        }
    }
}

fn array(messages: &[Bytes]) -> Bytes {
    let mut out = BytesMut::with_capacity(messages.iter().map(|message| message.len() + 1).sum::<usize>() + 2);
    out.put_u8(b'[');
    for (index, message) in messages.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.put_slice(message);
    }
    out.put_u8(b']');
    out.freeze()
}

/// An event stream: what is there already, then the rest, with a comment in every silence, and in place of a beginning.
pub(crate) fn events(first: Vec<Bytes>, mut rest: Outgoing, keep_alive: Duration) -> HttpResponse {
    streaming(async_stream::stream! {
        if first.is_empty() {
            yield KEEP_ALIVE;
        }
        for message in first {
            yield frame(&message);
        }
        loop {
            match timeout(keep_alive, rest.next()).await {
                Err(_) => yield KEEP_ALIVE,
                Ok(Some(Out::Notification(message) | Out::Response(_, message))) => yield frame(&message),
                Ok(None) => break,
            }
        }
    })
}

/// The response that carries a stream of events.
pub(crate) fn streaming(events: impl Stream<Item = Bytes> + Send + 'static) -> HttpResponse {
    let mut response = HttpResponse::new(Body::from_stream(events.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(super::gate::SSE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A message as one event, on one `data` line.
pub(crate) fn frame(message: &Bytes) -> Bytes {
    const OPEN: &[u8] = b"event: message\ndata: ";
    let mut out = BytesMut::with_capacity(OPEN.len() + message.len() + 2);
    out.put_slice(OPEN);
    out.put_slice(message);
    join_lines(&mut out[OPEN.len()..]);
    out.put_slice(b"\n\n");
    out.freeze()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_message_with_line_breaks_is_one_data_line() {
        let framed = frame(&Bytes::from_static(b"{\r\n  \"a\": \"\\n\"\n}"));
        assert_eq!(framed, "event: message\ndata: {    \"a\": \"\\n\" }\n\n");
    }

    #[test]
    fn arrays() {
        assert_eq!(array(&[Bytes::from_static(b"1"), Bytes::from_static(b"{}")]), "[1,{}]");
    }
}
