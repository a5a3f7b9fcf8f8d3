//! Event streams of a session as HTTP: each begins on a POST, outlives its connection, and is read on with a GET that says
//! `Last-Event-ID` (2025-11-25, basic/transports, "Resumability and Redelivery").
//!
//! A plain answer never comes here: only what has become a stream is kept, and only then is there a task that drives the call.

use std::{sync::Arc, time::Duration};

use axum::response::Response as HttpResponse;
use bytes::{BufMut, Bytes, BytesMut};
use futures::StreamExt;
use http::HeaderMap;
use spanwire_mcp::{RequestId, join_lines};
use spanwire_model::ErrorKind;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    replay::{EventId, Found, Reader, Writer},
    session::Session,
};
use crate::server::{
    Config, agreement,
    answer::{self, Begun, KEEP_ALIVE, Out, Outgoing},
    refusal::Refusal,
};

/// The header with which a client says where it stopped.
const LAST_EVENT_ID: &str = "last-event-id";
/// A client whose connection broke is asked to come back after this.
const RECONNECT_DELAY_MS: u64 = 1000;
/// What a cancelled request still has to say is waited for this long when nobody reads it.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer may be silent before it becomes a stream: not long, where the stream's first event lets its client come back.
pub(super) fn silence(config: &Config, session: &Session) -> Duration {
    if session.with_state(spanwire_era::session::Session::primes) {
        config.stream_after.min(config.keep_alive)
    } else {
        config.keep_alive
    }
}

/// The answer to the requests of one POST.
pub(super) fn answer(config: &Config, session: &Arc<Session>, begun: Begun, ids: &[RequestId]) -> HttpResponse {
    let (first, rest) = match begun {
        Begun::Whole(response) => return response,
        Begun::Stream(first, rest) => (first, rest),
    };
    let (resumes, primes) = session.with_state(|state| (state.resumes(), state.primes()));
    if !resumes {
        return answer::events(first, rest, config.keep_alive);
    }
    let (stream, writer) = session.replay().begin(primes);
    let start = EventId { stream, number: 0 };
    let Some(reader) = session.replay().resume(start) else { return answer::events(first, rest, config.keep_alive) };
    let opening = if primes { Some(priming(reader.position())) } else { first.is_empty().then_some(KEEP_ALIVE) };
    tokio::spawn(drive(writer, first, rest, session.tokens(ids)));
    answer::streaming(events(reader, opening, true, config.keep_alive))
}

/// Drives the calls of one stream whether or not somebody reads it. When nobody comes back, they are cancelled.
async fn drive(writer: Writer, first: Vec<Bytes>, mut rest: Outgoing, calls: Vec<CancellationToken>) {
    let forward = async {
        for message in first {
            writer.push(message).await;
        }
        while let Some(Out::Notification(message) | Out::Response(_, message)) = rest.next().await {
            writer.push(message).await;
        }
    };
    tokio::select! {
        () = forward => return,
        () = writer.abandoned() => {}
    }
    tracing::debug!(requests = calls.len(), "cancelled requests whose client did not come back for their stream");
    calls.iter().for_each(CancellationToken::cancel);
    writer.forget();
    let _ = timeout(LAST_WORDS_TIMEOUT, rest.for_each(|_| std::future::ready(()))).await;
}

/// Where a client stopped, if it says so.
pub(super) fn last_event(headers: &HeaderMap) -> Result<Option<EventId>, Refusal> {
    let Some(text) = agreement::single(headers, LAST_EVENT_ID, "Last-Event-ID")? else { return Ok(None) };
    text.parse().map(Some).map_err(|()| unknown_event(text))
}

/// No stream of this session has such an event any more: nothing of it can come.
pub(super) fn unknown_event(id: &str) -> Refusal {
    let id = crate::server::gate::excerpt(id);
    let text =
        format!("Last-Event-ID \"{id}\" is of no stream that is kept: send the request again if it has no answer");
    Refusal::bad_request(ErrorKind::InvalidRequest, text)
}

/// What one connection carries of a stream, with a comment in every silence.
pub(super) fn events(
    mut reader: Reader,
    opening: Option<Bytes>,
    ids: bool,
    keep_alive: Duration,
) -> impl futures::Stream<Item = Bytes> + Send {
    async_stream::stream! {
        if let Some(opening) = opening {
            yield opening;
        }
        loop {
            match timeout(keep_alive, reader.next()).await {
                Err(_) => yield KEEP_ALIVE,
                Ok(Some(Found::Event(id, message))) => yield frame(ids.then_some(id), &message),
                Ok(Some(Found::Gap(lost))) => yield Bytes::from(format!(": {lost} events are no longer kept\n\n")),
                Ok(None) => break,
            }
        }
    }
}

/// An event with an id and no message, so that a client can come back before there is one.
pub(super) fn priming(id: EventId) -> Bytes {
    Bytes::from(format!("id: {id}\nretry: {RECONNECT_DELAY_MS}\ndata: \n\n"))
}

/// A message as one event, on one `data` line.
fn frame(id: Option<EventId>, message: &Bytes) -> Bytes {
    let Some(id) = id else { return answer::frame(message) };
    let open = format!("id: {id}\nevent: message\ndata: ");
    let mut out = BytesMut::with_capacity(open.len() + message.len() + 2);
    out.put_slice(open.as_bytes());
    out.put_slice(message);
    join_lines(&mut out[open.len()..]);
    out.put_slice(b"\n\n");
    out.freeze()
}
