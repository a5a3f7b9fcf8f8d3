//! A call that asks its client something: the requests go out, and the call waits for the responses.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use spanwire_era::session::{Exchange, Retry, RoundId};
use spanwire_mcp::input::InputRequired;
use spanwire_model::Error;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::session::{Running, Session};

/// A round of input. Dropping it takes back what the client has not answered.
pub(super) struct Asking {
    session: Arc<Session>,
    kind: Kind,
}

enum Kind {
    /// The client was asked.
    Client { round: RoundId, answered: oneshot::Receiver<Retry> },
    /// It was not: the server only wants to be called again.
    Server { state: Option<String>, pause: Duration },
    /// Nothing waits any more.
    Over,
}

/// How the wait ended.
pub(super) enum Waited {
    /// Dispatch the call again.
    Retry(Retry),
    /// The request was cancelled, or its session ended.
    Cancelled,
    /// The client did not answer in time.
    Unanswered,
}

impl Asking {
    /// Begins a round, and says what goes to the client.
    pub(super) fn begin(
        session: &Arc<Session>,
        exchange: &mut Exchange,
        required: InputRequired,
    ) -> Result<(Self, Vec<Bytes>), Error> {
        exchange.begin_round(&required)?;
        let (kind, requests) = if required.requests.is_empty() {
            (Kind::Server { state: required.request_state, pause: exchange.pause() }, Vec::new())
        } else {
            let (round, answered, requests) = session.ask(required)?;
            (Kind::Client { round, answered }, requests)
        };
        Ok((Self { session: session.clone(), kind }, requests))
    }

    /// Waits for the client, or out the pause.
    pub(super) async fn wait(&mut self, running: &Running, longest: Duration) -> Waited {
        let retry = async {
            match &mut self.kind {
                Kind::Client { answered, .. } => answered.await.ok(),
                Kind::Server { state, pause } => {
                    sleep(*pause).await;
                    Some(Retry { input_responses: None, request_state: state.take() })
                }
                Kind::Over => None,
            }
        };
        tokio::select! {
            biased;
            () = running.cancelled() => Waited::Cancelled,
            retry = timeout(longest, retry) => match retry {
                Ok(Some(retry)) => Waited::Retry(retry),
                Ok(None) => Waited::Cancelled,
                Err(_) => Waited::Unanswered,
            },
        }
    }

    /// Takes back what the client has not answered: what it is told, and what the server is told.
    pub(super) fn withdraw(&mut self, reason: &str) -> Option<(Vec<Bytes>, Retry)> {
        match std::mem::replace(&mut self.kind, Kind::Over) {
            Kind::Client { round, .. } => self.session.withdraw(round, reason),
            Kind::Server { .. } | Kind::Over => None,
        }
    }
}

impl Drop for Asking {
    /// The stream of the request has gone, so the client is told on the session's own.
    fn drop(&mut self) {
        if let Some((notifications, _)) = self.withdraw("the request has ended") {
            notifications.into_iter().for_each(|notification| self.session.tell(notification));
        }
    }
}
