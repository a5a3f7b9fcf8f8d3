//! One request of a legacy client over the rounds of input that its call takes, which the client sees as one request.

use std::time::Duration;

use spanwire_mcp::{Json, Method, Notification, Revision, input::InputRequired};
use spanwire_model::{Error, ErrorKind, Outcome};

use super::translate;

/// Rounds of input that one request may take.
pub const MAX_ROUNDS: u32 = 64;
/// Pause before a call that only gave a state, and asked nothing, is dispatched again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest such pause; each one in a row is twice as long as the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What the outcome of a dispatched call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// The client's answer.
    Answer(Outcome),
    /// The call goes on when the client has answered this.
    Input(InputRequired),
}

/// What lasts over the rounds of one request.
#[derive(Debug, Default)]
pub struct Exchange {
    rounds: u32,
    pauses: u32,
    /// The last progress of the first round, read when there is a second one.
    last: Option<Notification>,
    /// The progress that the client has seen, from the second round on.
    seen: Option<f64>,
}

/// Reads the outcome of a call of `method`, which the client made with `params`.
pub fn ending(method: &Method, params: Option<&Json>, outcome: Outcome) -> Ending {
    match outcome {
        Ok(result) => match translate::result(method, result) {
            Ok(result) => Ending::Answer(Ok(result)),
            Err(asks) => input(method, &asks),
        },
        Err(error) => Ending::Answer(Err(translate::error(method, params, error))),
    }
}

fn input(method: &Method, result: &Json) -> Ending {
    let broken = |text: String| Ending::Answer(Err(Error::new(ErrorKind::BadServer, text)));
    if !method.takes_input() && *method != Method::TasksResult {
        return broken(format!("the server asked for input in answer to {method}, where it must not"));
    }
    match InputRequired::read(result) {
        Some(Ok(required)) => Ending::Input(required),
        Some(Err(text)) => broken(format!("the server asked for input that cannot be read: {text}")),
        None => broken("the server's result is of no known type".to_owned()),
    }
}

impl Exchange {
    /// A round begins. Fails when the server has asked too often.
    pub fn begin_round(&mut self, required: &InputRequired) -> Result<(), Error> {
        if self.rounds >= MAX_ROUNDS {
            let text = format!("the server asked for input more than {MAX_ROUNDS} times in one call");
            return Err(Error::new(ErrorKind::BadServer, text));
        }
        self.rounds += 1;
        self.pauses = if required.requests.is_empty() { self.pauses + 1 } else { 0 };
        if let Some(last) = self.last.take() {
            self.seen = progress_of(&last);
        }
        Ok(())
    }

    /// How long to wait before a call that asked nothing is dispatched again.
    pub fn pause(&self) -> Duration {
        FIRST_PAUSE.saturating_mul(1 << self.pauses.saturating_sub(1).min(16)).min(LONGEST_PAUSE)
    }

    /// Passes a progress notification on, as it goes to the client. Progress grows with every notification of one request
    /// (2025-11-25, basic/utilities/progress), and a server may count anew in each round: what does not grow is left out.
    pub fn progress(&mut self, revision: Revision, notification: Notification) -> Option<bytes::Bytes> {
        if self.rounds > 0 {
            let progress = progress_of(&notification);
            if let (Some(progress), Some(seen)) = (progress, self.seen)
                && progress <= seen
            {
                return None;
            }
            self.seen = progress.or(self.seen);
            return Some(translate::notification(revision, notification)?.to_bytes());
        }
        let notification = translate::notification(revision, notification)?;
        let written = notification.to_bytes();
        self.last = Some(notification);
        Some(written)
    }
}

fn progress_of(notification: &Notification) -> Option<f64> {
    notification.params.as_ref()?.get("progress")?.read().ok()
}

impl Ending {
    /// The error of a request whose client did not answer what it was asked.
    pub fn unanswered(method: &Method) -> Error {
        let text = format!("{method} needs input, and the client did not answer in time");
        Error::new(ErrorKind::DeadlineExceeded, text)
    }
}
