//! Agents for people and as JSON. Of a card only what is shown is read (A2A 1.0, 4.4: AgentCard, AgentInterface, AgentSkill).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use spanwire_rpc::v1::AgentInfo;

use crate::{
    failure::Failure,
    output::{Cell, Tone, ago, clean, first_line},
    raw,
};

/// Characters of a text that are shown in a list.
const MAX_TEXT: usize = 60;

/// The headers of [`row`].
pub(super) const HEADERS: [&str; 6] = ["agent", "name", "skills", "url", "by", "registered"];

/// What a card says, as far as it is shown. Whatever has another form than the specification gives it reads like what is not there.
#[derive(Debug, Default, PartialEq, Eq)]
struct Card {
    name: String,
    skills: Vec<Skill>,
    url: String,
}

#[derive(Debug, Deserialize, Serialize, PartialEq, Eq)]
struct Skill {
    id: String,
    name: String,
}

/// The members of a card that are looked at, each as it was written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Members<'a> {
    #[serde(borrow)]
    name: Option<&'a RawValue>,
    #[serde(borrow)]
    skills: Option<&'a RawValue>,
    #[serde(borrow)]
    supported_interfaces: Option<&'a RawValue>,
    /// Of cards of A2A 0.3, which have one interface in their midst.
    #[serde(borrow)]
    url: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Interface {
    url: String,
}

fn read<'a, T: Deserialize<'a>>(member: Option<&'a RawValue>) -> Option<T> {
    member.and_then(|value| serde_json::from_str(value.get()).ok())
}

fn card(agent: &AgentInfo) -> Card {
    let Ok(members) = serde_json::from_slice::<Members<'_>>(&agent.card_json) else { return Card::default() };
    // The first one is the one that the agent prefers.
    let preferred = read::<Vec<Interface>>(members.supported_interfaces).and_then(|all| all.into_iter().next());
    Card {
        name: read(members.name).unwrap_or_default(),
        skills: read(members.skills).unwrap_or_default(),
        url: preferred.map(|one| one.url).or_else(|| read(members.url)).unwrap_or_default(),
    }
}

/// An agent as a row.
pub(super) fn row(agent: &AgentInfo, now_ms: u64) -> Vec<Cell> {
    if !agent.problem.is_empty() {
        let problem = Cell::toned(first_line(&agent.problem, MAX_TEXT), Tone::Bad);
        return vec![(&agent.id).into(), problem, "".into(), "".into(), "".into(), "".into()];
    }
    let Card { name, skills, url } = card(agent);
    let skills: Vec<String> = skills.into_iter().map(|skill| skill.id).collect();
    let or_none = |text: String| match text.is_empty() {
        true => Cell::toned("-", Tone::Dim),
        false => first_line(&text, MAX_TEXT).into(),
    };
    vec![
        (&agent.id).into(),
        or_none(name),
        or_none(skills.join(" ")),
        or_none(url),
        format!("{} on {}", agent.by, agent.node).into(),
        ago(agent.registered_unix_ms, now_ms).into(),
    ]
}

/// What is known of an agent beside its card.
pub(super) fn facts(agent: &AgentInfo, now_ms: u64) -> String {
    let when = ago(agent.registered_unix_ms, now_ms);
    clean(&format!("{} version {} by {} on {}, {when}", agent.id, agent.version, agent.by, agent.node))
}

/// An agent as JSON, with its card as it was written. It is no [`Value`]: that would lose digits of the card.
#[derive(Debug, Serialize)]
pub(super) struct Document {
    #[serde(flatten)]
    facts: Value,
    card: Option<Box<RawValue>>,
}

/// The JSON of `spanwire agents`.
#[derive(Debug, Serialize)]
pub(super) struct List {
    agents: Vec<Document>,
}

pub(super) fn list(agents: &[AgentInfo]) -> Result<List, Failure> {
    Ok(List { agents: agents.iter().map(whole).collect::<Result<_, _>>()? })
}

pub(super) fn whole(agent: &AgentInfo) -> Result<Document, Failure> {
    let Card { name, skills, url } = card(agent);
    let facts = json!({
        "id": agent.id,
        "name": name,
        "skills": skills,
        "url": Some(url).filter(|url| !url.is_empty()),
        "by": agent.by,
        "node": agent.node,
        "registered_unix_ms": agent.registered_unix_ms,
        "version": agent.version,
        "problem": agent.problem,
    });
    let card = (!agent.card_json.is_empty()).then(|| raw::part(&agent.card_json)).transpose()?;
    Ok(Document { facts, card })
}

#[cfg(test)]
mod tests;
