//! What a legacy client is asked in mid-call: `input_required` becomes requests of the session, and the client's responses
//! become the retry (2026-07-28, basic/patterns/mrtr; 2025-11-25, client/elicitation, client/sampling, client/roots).
//!
//! [`Questions`] does no I/O: it says what to send, finds the question that a response belongs to, and says when a round is
//! complete. Ids carry the session's own tag, so that an answer that arrives in another session finds nothing there.

use std::{collections::HashMap, sync::Arc};

use spanwire_mcp::{
    ErrorObject, Json, Method, Notification, ObjectWriter, Request, RequestId, Response, codes,
    input::{InputRequest, InputRequired, error_response, missing_capability},
    string_literal,
};
use spanwire_model::{Error, ErrorKind};

use super::{Session, adapt};

/// Requests to one client that may wait for their answer at once.
pub const MAX_QUESTIONS: usize = 32;
/// What the client's answers of one round may hold together, in bytes; one beyond it counts as an error.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// One round of questions of one call; never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RoundId(u64);

/// The requests to one client that wait for its responses.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    tag: Arc<str>,
    /// The number of the last id that was given out.
    last: u64,
    rounds: HashMap<RoundId, Round>,
    open: HashMap<RequestId, RoundId>,
}

#[derive(Debug, Clone)]
struct Round {
    questions: Vec<Question>,
    request_state: Option<String>,
    answer_bytes: usize,
}

#[derive(Debug, Clone)]
struct Question {
    id: RequestId,
    key: String,
    answer: Option<Json>,
}

/// What to send to the client, all of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Names the round until it is complete.
    pub round: RoundId,
    /// The requests.
    pub requests: Vec<Request>,
}

/// What a call is dispatched with again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retry {
    /// The answers by the server's keys: an object; `None` when nothing was asked.
    pub input_responses: Option<Json>,
    /// The server's state, as it came.
    pub request_state: Option<String>,
}

/// What a server that waits inside its call is told when nobody will answer it. Small, so that it can be kept for as long as the
/// questions are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    keys: Vec<String>,
    request_state: String,
}

/// What a client's response meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answered {
    /// It answers nothing that is open: late, repeated, or not ours.
    Nothing,
    /// The round still waits for others.
    Partly,
    /// The round is complete.
    Complete(RoundId, Retry),
}

/// A round that nobody waits for any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawn {
    /// `notifications/cancelled` for each request that the client has not answered.
    pub notifications: Vec<Notification>,
    /// What tells the server: errors in place of the answers that are missing.
    pub retry: Retry,
}

impl Refusal {
    /// What refuses these questions; `None` when nothing waits for their answers: none are asked, or there is no state to wait in.
    pub fn of(required: &InputRequired) -> Option<Self> {
        let request_state = required.request_state.clone().filter(|_| !required.requests.is_empty())?;
        Some(Self { keys: required.requests.iter().map(|request| request.key.clone()).collect(), request_state })
    }

    /// An error with this reason in place of every answer.
    pub fn retry(self, reason: &str) -> Retry {
        let error = error_response(&ErrorObject::new(codes::INTERNAL_ERROR, reason));
        let mut responses = ObjectWriter::with_capacity(self.keys.len() * (error.len() + 32));
        for key in &self.keys {
            responses.member(key, error.as_bytes());
        }
        Retry { input_responses: Some(responses.finish()), request_state: Some(self.request_state) }
    }
}

impl Questions {
    /// The same for a session of this tag, which no other session has.
    pub fn tagged(tag: Arc<str>) -> Self {
        Self { tag, ..Self::default() }
    }

    /// Takes questions; `name` writes the params of one under its id.
    fn ask(
        &mut self,
        required: InputRequired,
        mut write: impl FnMut(&InputRequest, &str) -> Option<Json>,
    ) -> Result<Asked, Error> {
        if self.open.len() + required.requests.len() > MAX_QUESTIONS {
            let text = format!("too many requests wait for the client's answer: the limit is {MAX_QUESTIONS}");
            return Err(Error::new(ErrorKind::Overloaded, text));
        }
        self.last += 1;
        let round = RoundId(self.last);
        let mut requests = Vec::with_capacity(required.requests.len());
        let mut questions = Vec::with_capacity(required.requests.len());
        for asked in required.requests {
            self.last += 1;
            let text = format!("{}-{}", self.tag, self.last);
            let id = RequestId::String(text.as_str().into());
            requests.push(Request { id: id.clone(), params: write(&asked, &text), method: asked.method });
            self.open.insert(id.clone(), round);
            questions.push(Question { id, key: asked.key, answer: None });
        }
        self.rounds.insert(round, Round { questions, request_state: required.request_state, answer_bytes: 0 });
        Ok(Asked { round, requests })
    }

    fn answer(&mut self, response: Response) -> Answered {
        let Some(round) = response.id.as_ref().and_then(|id| self.open.remove(id)) else { return Answered::Nothing };
        let Some(waiting) = self.rounds.get_mut(&round) else { return Answered::Nothing };
        let answer = waiting.read(response.outcome);
        if let Some(question) = waiting.questions.iter_mut().find(|question| Some(&question.id) == response.id.as_ref())
        {
            question.answer = Some(answer);
        }
        if waiting.questions.iter().any(|question| question.answer.is_none()) {
            return Answered::Partly;
        }
        match self.rounds.remove(&round) {
            Some(complete) => Answered::Complete(round, complete.retry(&unanswered())),
            None => Answered::Nothing,
        }
    }

    fn withdraw(&mut self, round: RoundId, reason: &str) -> Option<Withdrawn> {
        let round = self.rounds.remove(&round)?;
        let open = round.questions.iter().filter(|question| question.answer.is_none());
        let notifications = open.map(|question| {
            self.open.remove(&question.id);
            let mut params = ObjectWriter::with_capacity(96);
            params.member("requestId", question.id.to_json().as_bytes());
            params.member("reason", string_literal(reason).as_bytes());
            Notification { method: Method::Cancelled, params: Some(params.finish()) }
        });
        let notifications = notifications.collect();
        let error = error_response(&ErrorObject::new(codes::INTERNAL_ERROR, reason));
        Some(Withdrawn { notifications, retry: round.retry(&error) })
    }
}

impl Round {
    /// An answer as an input response. What is no result, or too large for one, is an error to the server.
    fn read(&mut self, outcome: Result<Json, ErrorObject>) -> Json {
        let error = |text: String| error_response(&ErrorObject::new(codes::INVALID_REQUEST, text));
        let answer = match outcome {
            Ok(result) if result.is_object() => result,
            Ok(_) => error("the client's result is no object".to_owned()),
            Err(refused) => error_response(&refused),
        };
        if self.answer_bytes + answer.len() > MAX_ANSWER_BYTES {
            return error(format!("the client's answers are above the limit of {MAX_ANSWER_BYTES} bytes"));
        }
        self.answer_bytes += answer.len();
        answer
    }

    fn retry(self, missing: &Json) -> Retry {
        let mut responses = ObjectWriter::with_capacity(self.answer_bytes + 256);
        for question in &self.questions {
            responses.member(&question.key, question.answer.as_ref().unwrap_or(missing).as_bytes());
        }
        Retry { input_responses: Some(responses.finish()), request_state: self.request_state }
    }
}

fn unanswered() -> Json {
    error_response(&ErrorObject::new(codes::INTERNAL_ERROR, "the client did not answer"))
}

impl Session {
    /// Turns what a server asks into requests to the client. Fails, and nothing is sent, when the client did not declare that it
    /// can answer one of them, or when too many wait already.
    pub fn ask(&mut self, required: InputRequired) -> Result<Asked, Error> {
        for request in &required.requests {
            let missing = missing_capability(&self.capabilities, &request.method, request.params.as_ref());
            if let Some(missing) = missing {
                return Err(undeclared(&request.method, &missing));
            }
        }
        let revision = self.revision;
        self.questions.ask(required, |request, id| adapt::params(revision, request, id))
    }

    /// Takes a response of the client.
    pub fn answer(&mut self, response: Response) -> Answered {
        self.questions.answer(response)
    }

    /// Takes back the questions of a round, and says why; `None` when it is complete.
    pub fn withdraw(&mut self, round: RoundId, reason: &str) -> Option<Withdrawn> {
        self.questions.withdraw(round, reason)
    }

    /// Gives the session the tag that its ids carry. No other session may have it.
    pub fn set_tag(&mut self, tag: Arc<str>) {
        self.questions = Questions::tagged(tag);
    }

    /// The params of a request whose call is dispatched again: the same progress token, and what the retry brings.
    pub fn retry_params(&self, params: Option<&Json>, retry: &Retry) -> Json {
        let params = self.canonical_params(params);
        let state = retry.request_state.as_deref().map(string_literal);
        let mut set: Vec<(&str, &[u8])> = Vec::with_capacity(2);
        let mut remove = Vec::new();
        match &retry.input_responses {
            Some(responses) => set.push(("inputResponses", responses.as_bytes())),
            None => remove.push("inputResponses"),
        }
        match &state {
            Some(state) => set.push(("requestState", state.as_bytes())),
            None => remove.push("requestState"),
        }
        params.with(&set, &remove)
    }
}

/// A legacy client has no code for this: it is the server that asked for what it may not. -32021, the code of 2026-07-28, would
/// make a client believe that it speaks to a server of that revision.
fn undeclared(method: &Method, missing: &Json) -> Error {
    let text = format!(
        "the server needs {method} in mid-call, and the client did not declare {} in initialize",
        missing.as_str()
    );
    let mut data = ObjectWriter::with_capacity(96);
    data.member("requiredCapabilities", missing.as_bytes());
    let mut error = Error::new(ErrorKind::MissingCapability, text).with_data(data.finish());
    error.code = Some(codes::INTERNAL_ERROR);
    error
}
