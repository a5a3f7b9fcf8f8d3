//! The legacy session that the host's `initialize` opened, and its stream.

use std::{
    str::FromStr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use spanwire_mcp::{Json, Revision, header};
use spanwire_model::{Error, ErrorKind};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{Bridge, NOTIFY_TIMEOUT, resume::Place};

/// First wait before the session's stream is opened again.
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest wait before it is.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// An `initialize` that opens a lost session again must be answered after this.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// The session, if there is one.
pub(super) struct Session {
    state: Mutex<State>,
    /// One place: a lost session is opened again once, whoever notices.
    reopening: Semaphore,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    relay: Option<CancellationToken>,
}

#[derive(Clone)]
struct Open {
    /// Absent when the node keeps no sessions.
    id: Option<HeaderValue>,
    revision: Revision,
    /// The `initialize` request as the host sent it.
    initialize: Bytes,
}

impl Default for Session {
    fn default() -> Self {
        Self { state: Mutex::default(), reopening: Semaphore::new(1) }
    }
}

impl Session {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    pub(super) fn has_batches(&self) -> bool {
        self.state().open.as_ref().is_some_and(|open| open.revision.has_batches())
    }

    /// Headers of a message in the session; none without one.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(open) = &self.state().open {
            if let Some(id) = &open.id {
                headers.insert(header::SESSION_ID, id.clone());
            }
            if open.revision >= Revision::V2025_06_18 {
                headers.insert(header::PROTOCOL_VERSION, HeaderValue::from_static(open.revision.as_str()));
            }
        }
        headers
    }

    /// Takes over what the node answered to `initialize`.
    pub(super) fn opened(&self, id: Option<HeaderValue>, result: &Json, initialize: Bytes) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct InitializeResult {
            protocol_version: String,
        }
        let negotiated = result.read::<InitializeResult>().ok();
        let revision = negotiated.and_then(|result| Revision::from_str(&result.protocol_version).ok());
        let revision = revision.unwrap_or(Revision::LATEST_LEGACY);
        self.state().open = Some(Open { id, revision, initialize });
    }

    /// The token that stops the relay, when none runs yet.
    pub(super) fn start_relay(&self, closing: &CancellationToken) -> Option<CancellationToken> {
        let mut state = self.state();
        if state.relay.is_some() {
            return None;
        }
        let token = closing.child_token();
        state.relay = Some(token.clone());
        Some(token)
    }

    pub(super) fn stop_relay(&self) {
        if let Some(token) = &self.state().relay {
            token.cancel();
        }
    }
}

impl Bridge {
    /// Opens a lost session again, unless another task has done so since `used` was sent.
    pub(super) async fn reopen(&self, used: &HeaderMap) -> Result<(), Error> {
        let _place = self.session.reopening.acquire().await;
        if self.session.headers() != *used {
            return Ok(());
        }
        let gone = || Error::new(ErrorKind::SessionGone, "the node has lost the session and did not open it again");
        let initialize = self.session.state().open.as_ref().map(|open| open.initialize.clone()).ok_or_else(gone)?;
        let answered = async {
            let response = self.post(initialize.clone(), HeaderMap::new()).await?;
            let id = response.headers().get(header::SESSION_ID).cloned();
            let result = self.result_of(response).await?;
            self.session.opened(id, &result, initialize.clone());
            Ok::<_, Error>(())
        };
        timeout(REOPEN_TIMEOUT, answered).await.map_err(|_| gone())??;
        let initialized = Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        self.deliver(initialized).await;
        tracing::debug!("opened a lost session again");
        Ok(())
    }

    /// Relays the session's stream until the node says that it has none. After a break it goes on where it stopped.
    pub(super) async fn relay_stream(&self) {
        let mut wait = FIRST_RETRY;
        let mut session = HeaderMap::new();
        let mut place = Place::default();
        loop {
            let headers = self.session.headers();
            if session != headers {
                // The streams of another session are none of this one's.
                place = Place::default();
                session.clone_from(&headers);
            }
            match self.get(headers, &place).await {
                Ok(response) if response.status().is_success() => {
                    wait = FIRST_RETRY;
                    self.relay_events(response, &mut place, None).await;
                }
                Ok(response) if response.status() == StatusCode::METHOD_NOT_ALLOWED => return,
                Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                    let _ = self.reopen(&session).await;
                }
                Ok(response) if response.status() == StatusCode::BAD_REQUEST => place = Place::default(),
                Ok(response) => tracing::debug!(status = response.status().as_u16(), "the node gave no stream"),
                Err(error) => tracing::debug!(%error, "the session's stream could not be opened"),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LAST_RETRY);
        }
    }

    /// Ends the session at the node.
    pub(super) async fn end_session(&self) {
        let headers = self.session.headers();
        if !headers.contains_key(header::SESSION_ID) {
            return;
        }
        let request = self.client.delete(self.endpoint.clone()).headers(headers).send();
        if timeout(NOTIFY_TIMEOUT, request).await.is_err() {
            tracing::debug!("the node did not end the session in time");
        }
    }
}
