//! Streams of the session whose connection to the node breaks: they are read on after the last event that came, where the node gave
//! it an id (2025-11-25, basic/transports, "Resumability and Redelivery").

use std::time::Duration;

use http::{HeaderMap, StatusCode};
use spanwire_mcp::header;
use spanwire_model::{Error, ErrorKind};
use sse_stream::Sse;
use tokio::time::{Instant, sleep};

use super::{Bridge, session::FIRST_RETRY};

/// A node that cannot be reached is asked for the rest of a stream for this long.
const RESUME_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait between two tries, whatever the node asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A stream that ends so many times in a row without a new event has nothing more to say.
const MAX_EMPTY: u32 = 3;

/// How far a stream has been read.
pub(super) struct Place {
    last: Option<String>,
    wait: Duration,
    empty: u32,
}

impl Default for Place {
    fn default() -> Self {
        Self { last: None, wait: FIRST_RETRY, empty: 0 }
    }
}

impl Place {
    /// Notes what an event says about the stream.
    pub(super) fn note(&mut self, event: &Sse) {
        if let Some(id) = event.id.as_ref().filter(|id| !id.is_empty()) {
            self.last = Some(id.clone());
        }
        if let Some(retry) = event.retry {
            self.wait = Duration::from_millis(retry).min(LONGEST_WAIT);
        }
        self.empty = 0;
    }

    /// The header that says it.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(id) = self.last.as_ref().and_then(|id| id.parse().ok()) {
            headers.insert("last-event-id", id);
        }
        headers
    }
}

/// The node will not say more.
pub(super) fn lost() -> Error {
    Error::new(ErrorKind::StreamLost, "the node's stream ended without a response")
}

impl Bridge {
    /// Opens a stream of the session again where it broke.
    pub(super) async fn resume(&self, place: &mut Place) -> Result<reqwest::Response, Error> {
        let session = self.session.headers();
        place.empty += 1;
        if place.last.is_none() || place.empty > MAX_EMPTY || !session.contains_key(header::SESSION_ID) {
            return Err(lost());
        }
        let (until, mut wait) = (Instant::now() + RESUME_TIMEOUT, place.wait);
        while Instant::now() < until {
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            match self.get(session.clone(), place).await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) if response.status().is_server_error() => {
                    tracing::debug!(status = response.status().as_u16(), "the node does not go on with a stream yet");
                }
                Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {}
                // The session or the stream is gone.
                Ok(_) => return Err(lost()),
                Err(error) => tracing::debug!(%error, "the node is not reachable to go on with a stream"),
            }
        }
        Err(lost())
    }

    /// Asks for a stream of the session: its own, or the one that the place is in.
    pub(super) async fn get(&self, session: HeaderMap, place: &Place) -> Result<reqwest::Response, reqwest::Error> {
        let request = self.client.get(self.endpoint.clone()).headers(session).headers(place.headers());
        request.header(http::header::ACCEPT, "text/event-stream").send().await.map_err(reqwest::Error::without_url)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_place_is_the_last_id_that_came() {
        let mut place = Place::default();
        assert!(place.headers().is_empty());
        let event = |id: Option<&str>, retry| Sse { id: id.map(str::to_owned), retry, event: None, data: None };
        place.note(&event(Some("1-0"), Some(20)));
        place.note(&event(None, None));
        place.note(&event(Some(""), Some(3_600_000)));
        assert_eq!(place.headers()["last-event-id"], "1-0");
        assert_eq!(place.wait, LONGEST_WAIT);
        place.note(&event(Some("a\nb"), None));
        assert!(place.headers().is_empty(), "no header can say it");
    }
}
