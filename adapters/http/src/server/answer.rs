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
    /// A notification.
    Notification(Bytes),
    /// The response, and the HTTP status when it is the only message.
    Response(StatusCode, Bytes),
}

/// The messages of one request. A stream that ends without a response was cancelled. Dropping it cancels the call.
pub(crate) type Outgoing = Pin<Box<dyn Stream<Item = Out> + Send>>;

const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");

/// Answers one request. After `keep_alive` without a message the answer becomes an event stream, so that no
/// intermediary takes the silence for a failure.
pub(crate) async fn one(mut outgoing: Outgoing, keep_alive: Duration) -> HttpResponse {
    match timeout(keep_alive, outgoing.next()).await {
        Ok(Some(Out::Response(status, message))) => json(status, message),
        Ok(Some(Out::Notification(message))) => events(vec![frame(&message)], outgoing, keep_alive),
        Ok(None) => events(Vec::new(), outgoing, keep_alive),
        Err(_) => events(vec![KEEP_ALIVE], outgoing, keep_alive),
    }
}

/// Answers a batch (2025-03-26 only): an array when there are only responses and they come in time, events otherwise.
pub(crate) async fn batch(outgoing: Vec<Outgoing>, keep_alive: Duration) -> HttpResponse {
    let mut all: Outgoing = Box::pin(futures::stream::select_all(outgoing));
    let until = Instant::now() + keep_alive;
    let mut responses = Vec::new();
    loop {
        let notification = match timeout_at(until, all.next()).await {
            Ok(None) if responses.is_empty() => return events(Vec::new(), all, keep_alive),
            Ok(None) => return json(StatusCode::OK, array(&responses)),
            Ok(Some(Out::Response(_, message))) => {
                responses.push(message);
                continue;
            }
            Ok(Some(Out::Notification(message))) => Some(frame(&message)),
            Err(_) => Some(KEEP_ALIVE),
        };
        let first = responses.iter().map(frame).chain(notification).collect();
        return events(first, all, keep_alive);
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

/// An event stream: what is there already, then the rest, with a comment in every silence.
pub(crate) fn events(first: Vec<Bytes>, mut rest: Outgoing, keep_alive: Duration) -> HttpResponse {
    let stream = async_stream::stream! {
        for chunk in first {
            yield Ok::<_, Infallible>(chunk);
        }
        loop {
            match timeout(keep_alive, rest.next()).await {
                Err(_) => yield Ok(KEEP_ALIVE),
                Ok(Some(Out::Notification(message) | Out::Response(_, message))) => yield Ok(frame(&message)),
                Ok(None) => break,
            }
        }
    };
    let mut response = HttpResponse::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(super::gate::SSE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A message as one event, on one `data` line.
fn frame(message: &Bytes) -> Bytes {
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
