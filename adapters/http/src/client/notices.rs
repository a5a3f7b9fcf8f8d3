//! The stream that a legacy server sends unasked messages on.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use http::StatusCode;
use spanwire_mcp::{Message, Method};

use super::{
    body::{self, About},
    headers, resume,
    wire::Inner,
};

/// The first pause before the stream is opened again; it doubles with each failure.
const REOPEN_FIRST: Duration = Duration::from_millis(500);
/// The longest such pause.
const REOPEN_LONGEST: Duration = Duration::from_secs(30);

/// How one stream ended.
enum End {
    /// The server has no such stream.
    NotOffered,
    /// It was open and ended: open it again soon.
    Ended,
    /// It could not be opened.
    Failed,
}

/// Where a stream stands.
#[derive(Default)]
struct Position {
    last_event: Option<String>,
    /// How long the server wants to be left alone before the stream is opened again.
    retry: Option<Duration>,
}

/// Keeps the stream open until the connection is stopped.
pub(super) async fn listen(inner: Arc<Inner>) {
    let stop = inner.stop.clone();
    let mut pause = REOPEN_FIRST;
    let mut position = Position::default();
    loop {
        let end = tokio::select! {
            end = once(&inner, &mut position) => end,
            () = stop.cancelled() => return,
        };
        pause = match end {
            End::NotOffered => return,
            End::Ended => resume::pause(position.retry, REOPEN_FIRST),
            End::Failed => (pause * 2).min(REOPEN_LONGEST),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn once(inner: &Arc<Inner>, position: &mut Position) -> End {
    let session = inner.session.now();
    let mut all = headers::of_session(&inner.endpoint.headers, session.revision, session.id.as_ref());
    if let Some(Ok(id)) = position.last_event.as_deref().map(http::HeaderValue::from_str) {
        all.insert("last-event-id", id);
    }
    let sent = inner.endpoint.client.get(inner.endpoint.url.clone()).headers(all).send().await;
    let response = match sent {
        Ok(response) => response,
        Err(_) => return End::Failed,
    };
    match response.status() {
        StatusCode::NOT_FOUND if session.id.is_some() => {
            position.last_event = None;
            return match inner.renew(session.generation).await {
                Ok(()) => End::Ended,
                Err(_) => End::Failed,
            };
        }
        status if status.is_success() => {}
        status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => return End::NotOffered,
        _ => return End::Failed,
    }
    let about = About {
        server: inner.server.as_str().into(),
        method: Method::Other("the stream of notices".into()),
        max_bytes: inner.config.max_body_bytes,
    };
    let mut events = std::pin::pin!(body::events(response, about));
    while let Some(item) = events.next().await {
        if item.id.is_some() {
            position.last_event = item.id;
        }
        position.retry = item.retry.or(position.retry);
        match item.message {
            Some(Ok(message)) => deliver(inner, message).await,
            Some(Err(error)) => tracing::debug!(server = %inner.server, %error, "bad message on the stream of notices"),
            None => {}
        }
    }
    End::Ended
}

async fn deliver(inner: &Inner, message: Message) {
    match message {
        Message::Notification(notification) => inner.unaddressed(notification).await,
        Message::Request(request) => inner.asked(request, None).await,
        Message::Response(response) => {
            inner.calls.answer(response.id.as_ref(), response.outcome);
        }
    }
}
