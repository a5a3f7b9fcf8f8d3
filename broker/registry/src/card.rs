//! What must hold of an agent card before it goes into the registry (A2A 1.0, 4.4: AgentCard, AgentSkill).
//!
//! That is as much as the broker will rest on: a name for people, and skills that can be told apart. The specification asks for more, and
//! older cards have it in another form; what is not checked here is kept as it came.

use std::fmt;

use spanwire_mcp::Json;
use spanwire_model::{AgentId, Error, ErrorKind, Result};

use crate::MAX_RECORD_BYTES;

/// What is wrong with a part of a card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Missing,
    NoString,
    Empty,
    NoArray,
    NoObject,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "is missing",
            Self::NoString => "is not a string",
            Self::Empty => "is empty",
            Self::NoArray => "is not an array",
            Self::NoObject => "is not an object",
        })
    }
}

/// Checks a card.
///
/// # Errors
/// `InvalidParams`, with the first place where it is no card, as a JSON path; `QuotaExceeded` when it is too large.
pub(crate) fn check(id: &AgentId, card: &Json) -> Result<()> {
    if card.len() > MAX_RECORD_BYTES {
        let text = format!("the card of agent \"{id}\" has {} bytes: at most {MAX_RECORD_BYTES}", card.len());
        return Err(Error::new(ErrorKind::QuotaExceeded, text));
    }
    find(card).map_err(|(path, wrong)| {
        let text = format!(
            "the card of agent \"{id}\": {path} {wrong}; an A2A agent card is a JSON object with a name, and each of its skills has an \
             id and a name"
        );
        Error::new(ErrorKind::InvalidParams, text)
    })
}

/// The first place that is wrong.
fn find(card: &Json) -> std::result::Result<(), (String, Wrong)> {
    if !card.is_object() {
        return Err(("$".to_owned(), Wrong::NoObject));
    }
    text(card, "$", "name")?;
    // ProtoJSON: null is a member that is not there.
    let Some(skills) = card.get("skills").filter(|skills| !is_null(skills)) else { return Ok(()) };
    if skills.as_bytes().first() != Some(&b'[') {
        return Err(("$.skills".to_owned(), Wrong::NoArray));
    }
    for (index, skill) in skills.elements().enumerate() {
        let path = format!("$.skills[{index}]");
        if !skill.is_object() {
            return Err((path, Wrong::NoObject));
        }
        text(&skill, &path, "id")?;
        text(&skill, &path, "name")?;
    }
    Ok(())
}

/// A member that must be a text with something in it.
fn text(object: &Json, path: &str, member: &str) -> std::result::Result<(), (String, Wrong)> {
    let wrong = match object.get(member).filter(|value| !is_null(value)).map(|value| value.read::<String>()) {
        Some(Ok(text)) if text.trim().is_empty() => Wrong::Empty,
        Some(Ok(_)) => return Ok(()),
        Some(Err(_)) => Wrong::NoString,
        None => Wrong::Missing,
    };
    Err((format!("{path}.{member}"), wrong))
}

fn is_null(value: &Json) -> bool {
    value.as_str() == "null"
}

#[cfg(test)]
mod tests;
