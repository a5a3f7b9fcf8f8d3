//! The task of a session: it keeps the one canonical `subscriptions/listen` that stands for the legacy subscriptions,
//! puts what arrives on the session's stream, and ends the session when nobody uses it.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::StreamExt;
use spanwire_era::session as era;
use spanwire_mcp::Method;
use spanwire_model::{Call, ClientFacts, Dispatch, EdgeTransport, Error, ErrorKind, Event, Reply};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::{Instant, timeout},
};
use uuid::Uuid;

use super::{session::Session, table::Table};

/// Commands that may wait for the task; a sender waits beyond.
const MAX_COMMANDS: usize = 8;
/// The acknowledgement of a listen stream must have come after this.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait before a listen stream that ended is opened again.
const REOPEN_DELAY: Duration = Duration::from_secs(5);
/// The shortest time between two looks at whether the session is idle.
const SHORTEST_IDLE_CHECK: Duration = Duration::from_millis(10);

/// Opens the listen stream (anew, when there is an answer to give).
pub(super) struct Command {
    /// The resource that the acknowledgement must have.
    pub(super) uri: Option<String>,
    /// Where the outcome goes; without one, a stream that is open already stays.
    pub(super) answer: Option<oneshot::Sender<Result<(), Error>>>,
}

pub(super) fn channel() -> (mpsc::Sender<Command>, mpsc::Receiver<Command>) {
    mpsc::channel(MAX_COMMANDS)
}

/// The task of a session.
pub(super) struct Feed {
    pub(super) session: Arc<Session>,
    pub(super) dispatch: Arc<dyn Dispatch>,
    pub(super) table: Weak<Table>,
    pub(super) idle_timeout: Duration,
    pub(super) listen_timeout: Duration,
    pub(super) resume_timeout: Duration,
    pub(super) address: Option<SocketAddr>,
    pub(super) place: OwnedSemaphorePermit,
}

/// The listen stream.
enum Listen {
    /// Not asked for yet.
    Idle,
    /// Open.
    Open(Reply),
    /// It ended; to be opened again.
    Until(Instant),
}

impl Listen {
    /// The next event, or that it is time to open the stream again (`None`).
    async fn next(&mut self) -> Option<Event> {
        match self {
            Self::Idle => std::future::pending().await,
            Self::Open(reply) => reply.next().await,
            Self::Until(instant) => {
                tokio::time::sleep_until(*instant).await;
                None
            }
        }
    }
}

impl Feed {
    pub(super) async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let mut listen = Listen::Idle;
        let period = (self.idle_timeout / 4).min(self.resume_timeout).max(SHORTEST_IDLE_CHECK);
        let mut idle_check = tokio::time::interval(period);
        loop {
            tokio::select! {
                () = self.session.closed().cancelled() => break,
                command = commands.recv() => match command {
                    Some(command) => self.obey(command, &mut listen).await,
                    None => break,
                },
                event = listen.next() => match event {
                    Some(Event::Progress(notification) | Event::Notification(notification)) => {
                        self.session.push(notification);
                    }
                    Some(Event::Done(outcome)) => {
                        tracing::debug!(error = outcome.err().map(tracing::field::display), "a session's listen stream ended");
                        listen = Listen::Until(Instant::now() + REOPEN_DELAY);
                    }
                    None => listen = Listen::Open(self.listen()),
                },
                _ = idle_check.tick() => {
                    self.session.replay().sweep();
                    if self.session.idle() >= self.idle_timeout {
                        tracing::debug!("ended an idle session");
                        break;
                    }
                }
            }
        }
        self.session.close();
        if let Some(table) = self.table.upgrade() {
            table.remove(self.session.id());
        }
        drop(self.place);
    }

    async fn obey(&self, command: Command, listen: &mut Listen) {
        let Command { uri, answer } = command;
        let Some(answer) = answer else {
            if !matches!(listen, Listen::Open(_)) {
                *listen = Listen::Open(self.listen());
            }
            return;
        };
        // The old stream stays until the new one is acknowledged, so that no update falls between them.
        let outcome = match self.acknowledged(uri.as_deref()).await {
            Ok(reply) => {
                *listen = Listen::Open(reply);
                Ok(())
            }
            Err(error) => Err(error),
        };
        let _ = answer.send(outcome);
    }

    /// Opens a listen stream and waits until it says what it honours.
    async fn acknowledged(&self, uri: Option<&str>) -> Result<Reply, Error> {
        let mut reply = self.listen();
        let acknowledgement = async {
            while let Some(event) = reply.next().await {
                match event {
                    Event::Notification(notification) if notification.method == Method::SubscriptionAcknowledged => {
                        return Ok(uri.is_none_or(|uri| era::acknowledges(notification.params.as_ref(), uri)));
                    }
                    Event::Progress(notification) | Event::Notification(notification) => {
                        self.session.push(notification);
                    }
                    Event::Done(Err(error)) => return Err(error),
                    Event::Done(Ok(_)) => break,
                }
            }
            Err(Error::new(ErrorKind::Unavailable, "the subscription ended before it began"))
        };
        let acknowledgement = tokio::select! {
            acknowledgement = timeout(ACKNOWLEDGE_TIMEOUT, acknowledgement) => acknowledgement,
            () = self.session.closed().cancelled() => {
                return Err(Error::new(ErrorKind::SessionGone, "the session has ended"));
            }
        };
        match acknowledgement {
            Ok(Ok(true)) => Ok(reply),
            Ok(Ok(false)) => {
                Err(Error::new(ErrorKind::InvalidParams, "no such resource, or it cannot be subscribed to"))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::new(ErrorKind::DeadlineExceeded, "the subscription was not acknowledged in time")),
        }
    }

    fn listen(&self) -> Reply {
        let (params, revision) = self.session.with_state(|state| (state.listen_params(), state.revision()));
        self.dispatch.dispatch(Call {
            id: Uuid::now_v7(),
            principal: self.session.principal().clone(),
            view: self.session.view().cloned(),
            method: Method::Listen,
            params,
            deadline: Instant::now() + self.listen_timeout,
            parent: None,
            client: ClientFacts {
                address: self.address,
                session_id: Some(self.session.id().clone()),
                ..ClientFacts::of(EdgeTransport::Http, revision)
            },
        })
    }
}
