//! A call that asks its client something: the requests go out, and the call waits for the responses.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use spanwire_era::session::{Exchange, Refusal, Retry, RoundId};
use spanwire_mcp::input::InputRequired;
use spanwire_model::{Error, Reply};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    time::{sleep, timeout},
};

use super::session::{Running, Session};

/// A server whose questions are withdrawn is told so for at most this long.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes the call again.
pub(super) type Again = Box<dyn FnOnce(&Retry) -> Reply + Send>;

/// A round of input. Unless it brings a retry, the server is told that there is none, however the round ends; dropping it also takes
/// back what the client has not answered.
pub(super) struct Asking {
    session: Arc<Session>,
    kind: Kind,
    /// What is owed to a server that waits inside its call.
    farewell: Option<Farewell>,
}

/// What a server that waits inside its call hears when nobody will answer: else it would wait, and hold its place, until the parked
/// call's time to live is over.
struct Farewell {
    refusal: Refusal,
    again: Again,
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
    /// Begins a round, and says what goes to the client. When it cannot begin, the server is told.
    pub(super) fn begin(
        session: &Arc<Session>,
        exchange: &mut Exchange,
        required: InputRequired,
        again: Again,
    ) -> Result<(Self, Vec<Bytes>), Error> {
        let farewell = Refusal::of(&required).map(|refusal| Farewell { refusal, again });
        let mut asking = Self { session: session.clone(), kind: Kind::Over, farewell };
        match asking.ask(exchange, required) {
            Ok(requests) => Ok((asking, requests)),
            Err(error) => {
                asking.withdraw(&error.public);
                Err(error)
            }
        }
    }

    fn ask(&mut self, exchange: &mut Exchange, required: InputRequired) -> Result<Vec<Bytes>, Error> {
        exchange.begin_round(&required)?;
        if required.requests.is_empty() {
            self.kind = Kind::Server { state: required.request_state, pause: exchange.pause() };
            return Ok(Vec::new());
        }
        let (round, answered, requests) = self.session.ask(required)?;
        self.kind = Kind::Client { round, answered };
        Ok(requests)
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
                Ok(Some(retry)) => {
                    // The retry is what the server is told.
                    self.farewell = None;
                    Waited::Retry(retry)
                }
                Ok(None) => Waited::Cancelled,
                Err(_) => Waited::Unanswered,
            },
        }
    }

    /// Takes back what the client has not answered, and says what the client is told. The server hears the answers that did come, with
    /// errors in place of the others; of a round that was complete, but whose answers nobody took, only errors.
    pub(super) fn withdraw(&mut self, reason: &str) -> Vec<Bytes> {
        let withdrawn = match std::mem::replace(&mut self.kind, Kind::Over) {
            Kind::Client { round, .. } => self.session.withdraw(round, reason),
            Kind::Server { .. } | Kind::Over => None,
        };
        let (notifications, retry) = withdrawn.unzip();
        if let Some(Farewell { refusal, again }) = self.farewell.take() {
            say(again, retry.unwrap_or_else(|| refusal.retry(reason)));
        }
        notifications.unwrap_or_default()
    }
}

/// A server that waits inside its call hears that there is no answer, and then that the call is cancelled. A task of its own does it,
/// since the stream of the request may be gone already.
fn say(again: Again, retry: Retry) {
    // Outside a runtime the process is ending.
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async move {
        if timeout(FAREWELL_TIMEOUT, again(&retry).outcome()).await.is_err() {
            tracing::debug!("cancelled a call whose questions were withdrawn");
        }
    });
}

impl Drop for Asking {
    /// The stream of the request has gone, so the client is told on the session's own.
    fn drop(&mut self) {
        self.withdraw("the request has ended").into_iter().for_each(|notification| self.session.tell(notification));
    }
}
