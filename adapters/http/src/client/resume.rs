//! A reply of a legacy server that breaks off before the response is taken up where it broke, if its events had ids
//! (2025-11-25, basic/transports, "Resumability and Redelivery"). A server may also close a stream on purpose and be
//! asked again later ("Sending Messages to the Server", 6). A modern reply that breaks off is lost.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::StreamExt;
use http::{HeaderValue, StatusCode};
use reqwest::Response;
use spanwire_era::upstream::WireRequest;
use spanwire_mcp::{Era, Revision};
use spanwire_model::{Error, ErrorKind};

use super::{
    body::{self, About, Messages},
    headers,
    session::State,
    wire::Inner,
};

/// Attempts in a row that bring no new event before the reply counts as lost. The call's budget bounds the whole.
const MAX_FRUITLESS: u32 = 5;
/// The pause before an attempt where the server names none.
const PAUSE: Duration = Duration::from_secs(1);
/// The shortest pause, whatever the server names.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause, whatever the server names.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The pause that a server asked for, within bounds.
pub(super) fn pause(retry: Option<Duration>, otherwise: Duration) -> Duration {
    retry.unwrap_or(otherwise).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

/// Why a stream was not opened again.
enum Failed {
    /// It may be later.
    Again,
    /// It never will be, and what the server said.
    ForGood(StatusCode),
}

/// True when the reply can be taken up again: HTTP+SSE of 2024-11-05 has no such thing.
pub(super) fn is_possible(request: &WireRequest, response: &Response) -> bool {
    request.revision.era() == Era::Legacy && request.revision != Revision::V2024_11_05 && body::is_events(response)
}

/// The messages of a reply, over as many streams as it takes. Dropping it ends the waiting, too.
pub(super) fn messages(inner: Arc<Inner>, response: Response, about: About) -> Messages {
    Box::pin(async_stream::stream! {
        let session = inner.session.now();
        let (mut last_event, mut retry, mut fruitless) = (None::<String>, None, 0);
        let mut stream = Some(response);
        loop {
            let mut broken = about.ended();
            if let Some(response) = stream.take() {
                let mut events = pin!(body::events(response, about.clone()));
                while let Some(item) = events.next().await {
                    if item.id.is_some() && item.id != last_event {
                        // An empty id takes the position back (HTML, server-sent events).
                        last_event = item.id.filter(|id| !id.is_empty());
                        fruitless = 0;
                    }
                    retry = item.retry.or(retry);
                    match item.message {
                        Some(Err(error)) if error.kind == ErrorKind::StreamLost => {
                            broken = error;
                            break;
                        }
                        Some(message) => yield message,
                        None => {}
                    }
                }
            }
            let Some(id) = last_event.as_deref().filter(|_| fruitless < MAX_FRUITLESS) else {
                yield Err(broken);
                return;
            };
            tokio::time::sleep(pause(retry, PAUSE).saturating_mul(1 << fruitless).min(LONGEST_PAUSE)).await;
            fruitless += 1;
            match inner.take_up(&session, id).await {
                Ok(response) => stream = Some(response),
                Err(Failed::Again) => {}
                Err(Failed::ForGood(status)) => {
                    yield Err(not_taken_up(&about, broken, status));
                    return;
                }
            }
        }
    })
}

fn not_taken_up(about: &About, broken: Error, status: StatusCode) -> Error {
    let what = format!("broke off its reply and did not take it up again (HTTP status {})", status.as_u16());
    let error = about.error(ErrorKind::StreamLost, &what);
    match broken.private {
        Some(private) => error.with_private(private),
        None => error,
    }
}

impl Inner {
    /// Opens the stream again behind the event with this id.
    async fn take_up(&self, session: &State, id: &str) -> Result<Response, Failed> {
        let mut all = headers::of_session(&self.endpoint.headers, session.revision, session.id.as_ref());
        let id = HeaderValue::from_bytes(id.as_bytes()).map_err(|_| Failed::ForGood(StatusCode::OK))?;
        all.insert("last-event-id", id);
        let sent = self.endpoint.client.get(self.endpoint.url.clone()).headers(all).send().await;
        let response = sent.map_err(|_| Failed::Again)?;
        match response.status() {
            _ if body::is_events(&response) => Ok(response),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(Failed::Again),
            status if status.is_server_error() => Err(Failed::Again),
            status => Err(Failed::ForGood(status)),
        }
    }
}
