//! The error -32042 of 2025-11-25 as a question: visit these URLs, then call again.

use std::collections::HashMap;

use spanwire_mcp::{
    Json, Method,
    input::{InputRequest, InputRequired, missing_capability},
};
use spanwire_model::{Error, ErrorKind};
use tokio::time::Instant;
use uuid::Uuid;

use super::attribution::Target;

/// `URLElicitationRequiredError` (2025-11-25, client/elicitation, "URL Elicitation Required Error").
const URL_ELICITATION_REQUIRED: i64 = -32042;
/// Calls that may wait to be made again; what comes above it keeps its error.
const MAX_WAITING: usize = 256;
/// Elicitations of one error; an error with more is passed as it is.
const MAX_ELICITATIONS: usize = 32;

/// The calls of one connection that are to be made again.
#[derive(Debug, Default)]
pub(super) struct Again {
    waiting: HashMap<Uuid, Promised>,
}

#[derive(Debug)]
struct Promised {
    target: Target,
    error: Error,
    elicitations: Vec<String>,
    until: Instant,
}

impl Again {
    /// Makes a question of the error, if it is that error and the caller can be asked; else gives it back.
    pub(super) fn promise(
        &mut self,
        error: Error,
        target: Target,
        capabilities: &Json,
        now: Instant,
        until: Instant,
    ) -> Result<InputRequired, Error> {
        self.waiting.retain(|_, promised| promised.until > now);
        let Some((requests, elicitations)) = questions(&error, capabilities) else { return Err(error) };
        if self.waiting.len() >= MAX_WAITING {
            return Err(error);
        }
        let state = Uuid::new_v4();
        self.waiting.insert(state, Promised { target, error, elicitations, until });
        Ok(InputRequired { requests, request_state: Some(state.to_string()) })
    }

    /// The retry: the ids of the elicitations that the new call was given before. `None` when this state is not one of these.
    /// Whoever has not agreed to each of them gets the server's error.
    pub(super) fn redeem(
        &mut self,
        state: &Uuid,
        target: &Target,
        responses: Option<&Json>,
        now: Instant,
    ) -> Option<Result<Vec<String>, Error>> {
        let promised = self.waiting.get(state).filter(|promised| promised.until > now && promised.target == *target)?;
        if let Some(text) = wrong_shape(promised.elicitations.len(), responses) {
            return Some(Err(Error::new(ErrorKind::InvalidParams, text)));
        }
        let promised = self.waiting.remove(state)?;
        let agreed = (1..=promised.elicitations.len()).all(|number| {
            let answer = responses.and_then(|responses| responses.get(&key(number)));
            let action = answer.and_then(|answer| answer.get("action")?.read::<String>().ok());
            action.is_none_or(|action| action == "accept")
        });
        Some(if agreed { Ok(promised.elicitations) } else { Err(promised.error) })
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

fn key(number: usize) -> String {
    format!("input-{number}")
}

fn wrong_shape(questions: usize, responses: Option<&Json>) -> Option<String> {
    let responses = responses?;
    if !responses.is_object() {
        return Some("inputResponses is no object".to_owned());
    }
    let wrong = |key: &String| responses.get(key).is_some_and(|answer| !answer.is_object());
    (1..=questions).map(key).find(wrong).map(|key| format!("inputResponses[\"{key}\"] is no object"))
}

/// What the error asks, with the ids of the elicitations.
fn questions(error: &Error, capabilities: &Json) -> Option<(Vec<InputRequest>, Vec<String>)> {
    if error.kind != ErrorKind::Server || error.code != Some(URL_ELICITATION_REQUIRED) {
        return None;
    }
    let list = error.data.as_ref()?.get("elicitations")?;
    let (mut requests, mut ids) = (Vec::new(), Vec::new());
    for elicitation in list.elements() {
        let id: String = elicitation.get("elicitationId")?.read().ok()?;
        elicitation.get("url")?.read::<String>().ok()?;
        let params = elicitation.with(&[("mode", b"\"url\"")], &[]);
        if missing_capability(capabilities, &Method::ElicitationCreate, Some(&params)).is_some() {
            return None;
        }
        ids.push(id);
        requests.push(InputRequest { key: key(ids.len()), method: Method::ElicitationCreate, params: Some(params) });
    }
    (1..=MAX_ELICITATIONS).contains(&ids.len()).then_some((requests, ids))
}
