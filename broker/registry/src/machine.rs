//! What the registry's log means: servers and agents that were registered at run time.
//!
//! The machine is pure, and it reads no more of a specification than it decides on: the text goes into the record as it came, so that
//! nodes of different versions make the same records of it. Whether a node can run a server is for that node to find out.

mod record;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use spanwire_mcp::Json;
use spanwire_model::{
    Agent, AgentId, AgentPage, AgentQuery, Applied, Entry, NodeId, Placement, Refusal, RefusalReason, ServerId,
    StoreError, View, ViewMut,
};

use self::record::{AGENTS, AgentRecord, SERVERS};
pub(crate) use self::record::{ServerRecord, Written};

/// The newest version of a command's form. A change is written in the oldest version that has it, so that nodes which know no newer one go on.
const COMMAND_VERSION: u16 = 2;

/// Servers that may be registered.
pub const MAX_SERVERS: u64 = 4096;

/// Agents that may be registered.
pub const MAX_AGENTS: u64 = 4096;

/// Longest specification or card in bytes.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// Nodes that may run one server at a time.
pub const MAX_REPLICAS: u16 = 64;

/// What is said of a specification that cannot be read, whatever a library says of it.
const UNREADABLE: &str = "unreadable specification of a server: it needs an id and a target; placement is \"here\" or \"any\", \
                          replicas a number";

/// What is said of a body that is no change.
const NO_CHANGE: &str = "unreadable command for the registry";

/// Longest id of an agent.
const MAX_AGENT_ID: usize = 64;

/// A change that is wanted, as the body of a command: an object of one member, which names the change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Change {
    /// Registers a server. `home` is the node of a server that is placed `here`. Conflict when the id is taken, unless it replaces.
    PutServer { spec: Json, home: Option<NodeId>, replace: bool },
    /// Forgets a server.
    RemoveServer { id: ServerId },
    /// Registers an agent, or changes what it says of itself.
    PutAgent { id: Arc<str>, card: Json },
    /// Registers an agent. Conflict when the id is taken. Since version 2.
    AddAgent { id: Arc<str>, card: Json },
    /// Forgets an agent.
    RemoveAgent { id: Arc<str> },
}

impl Change {
    /// The oldest version of commands that has this change.
    pub(crate) const fn version(&self) -> u16 {
        match self {
            Self::PutServer { .. } | Self::RemoveServer { .. } | Self::PutAgent { .. } | Self::RemoveAgent { .. } => 1,
            Self::AddAgent { .. } => 2,
        }
    }
}

/// What became of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Put {
    pub(crate) replaced: bool,
}

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removed {
    pub(crate) removed: bool,
}

/// What the machine reads of a specification.
#[derive(Deserialize)]
struct Head {
    id: ServerId,
    target: Json,
    #[serde(default)]
    placement: Placement,
    #[serde(default = "one")]
    replicas: u16,
}

const fn one() -> u16 {
    1
}

/// The state machine of [`Book::Registry`](spanwire_model::Book).
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl spanwire_model::Machine for Machine {
    fn version(&self) -> u16 {
        COMMAND_VERSION
    }

    fn apply(&self, view: &mut dyn ViewMut, entry: &Entry) -> Result<Applied, StoreError> {
        let change = match entry.command.body.read::<Change>() {
            Ok(change) if change.version() <= entry.command.version => change,
            // One that is newer than its command was refused where only the older version was known, and so is for ever. What a library
            // says of it is nothing that nodes of different builds agree on.
            Ok(_) | Err(_) => return Ok(Err(invalid(NO_CHANGE.to_owned()))),
        };
        match change {
            Change::PutServer { spec, home, replace } => put_server(view, entry, spec, home, replace),
            Change::RemoveServer { id } => remove(view, &Kind::SERVERS, id.as_str()),
            Change::PutAgent { id, card } => put_agent(view, entry, &id, card, true),
            Change::AddAgent { id, card } => put_agent(view, entry, &id, card, false),
            Change::RemoveAgent { id } => remove(view, &Kind::AGENTS, &id),
        }
    }
}

/// One of the two kinds of records.
struct Kind {
    noun: &'static str,
    prefix: &'static str,
    /// Where their number is kept.
    count: &'static [u8],
    max: u64,
}

impl Kind {
    const SERVERS: Self = Self { noun: "server", prefix: SERVERS, count: b"count/server", max: MAX_SERVERS };
    const AGENTS: Self = Self { noun: "agent", prefix: AGENTS, count: b"count/agent", max: MAX_AGENTS };

    fn key(&self, id: &str) -> Vec<u8> {
        format!("{}{id}", self.prefix).into_bytes()
    }

    fn count(&self, view: &dyn View) -> Result<u64, StoreError> {
        let value = view.get(self.count)?;
        Ok(value.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok()).unwrap_or(0))
    }

    fn set_count(&self, view: &mut dyn ViewMut, count: u64) {
        view.put(self.count.to_vec(), count.to_string().into_bytes());
    }

    /// Keeps a record; a new one needs room.
    fn put(&self, view: &mut dyn ViewMut, id: &str, record: Vec<u8>, is_new: bool) -> Result<Applied, StoreError> {
        if is_new {
            let count = self.count(view)?;
            if count >= self.max {
                return Ok(Err(refusal(RefusalReason::Quota, format!("there are {count} {}s already", self.noun))));
            }
            self.set_count(view, count + 1);
        }
        view.put(self.key(id), record);
        Ok(Ok(json(&Put { replaced: !is_new })))
    }

    fn too_large(&self, id: &str, record: &Json) -> Option<Refusal> {
        let text = || format!("{} \"{id}\" has {} bytes: at most {MAX_RECORD_BYTES}", self.noun, record.len());
        (record.len() > MAX_RECORD_BYTES).then(|| refusal(RefusalReason::Quota, text()))
    }
}

fn put_server(
    view: &mut dyn ViewMut,
    entry: &Entry,
    spec: Json,
    home: Option<NodeId>,
    replace: bool,
) -> Result<Applied, StoreError> {
    let head = match spec.read::<Head>() {
        Ok(head) => head,
        Err(_) => return Ok(Err(invalid(UNREADABLE.to_owned()))),
    };
    let Head { id, .. } = &head;
    if let Some(refusal) = Kind::SERVERS.too_large(id.as_str(), &spec).or_else(|| wrong(&head, home.is_some())) {
        return Ok(Err(refusal));
    }
    let there = ServerRecord::get(view, id)?;
    if there.is_some() && !replace {
        let text = format!("server \"{id}\" exists already: remove it first, or replace it");
        let data = there.flatten().map(|there| json(&there.about()));
        return Ok(Err(Refusal { reason: RefusalReason::Conflict, text, data }));
    }
    let record = json(&ServerRecord { spec, home, written: Written::by(entry) });
    Kind::SERVERS.put(view, id.as_str(), record.as_bytes().to_vec(), there.is_none())
}

/// What is wrong with a specification, as far as the machine reads it.
fn wrong(head: &Head, has_home: bool) -> Option<Refusal> {
    let Head { id, target, placement, replicas } = head;
    let what = match placement {
        _ if !target.is_object() => "has no target".to_owned(),
        Placement::Here if !has_home => "needs the node that it is placed on".to_owned(),
        Placement::Here if *replicas != 1 => "has replicas, which need the placement \"any\"".to_owned(),
        Placement::Any if has_home => "is placed on any node, and on one".to_owned(),
        Placement::Any if !(1..=MAX_REPLICAS).contains(replicas) => {
            format!("has {replicas} replicas: 1 to {MAX_REPLICAS}")
        }
        Placement::Here | Placement::Any => return None,
    };
    Some(invalid(format!("server \"{id}\" {what}")))
}

fn put_agent(
    view: &mut dyn ViewMut,
    entry: &Entry,
    id: &str,
    card: Json,
    replace: bool,
) -> Result<Applied, StoreError> {
    if !is_agent_id(id) {
        return Ok(Err(invalid(format!(
            "invalid agent id: use 1 to {MAX_AGENT_ID} of a-z, 0-9 and -, beginning with a letter"
        ))));
    }
    if !card.is_object() {
        return Ok(Err(invalid(format!("the card of agent \"{id}\" is no JSON object"))));
    }
    if let Some(refusal) = Kind::AGENTS.too_large(id, &card) {
        return Ok(Err(refusal));
    }
    let there = AgentRecord::get(view, id)?;
    if there.is_some() && !replace {
        let text = format!("agent \"{id}\" exists already: remove it first, or replace it");
        let data = there.flatten().map(|there| json(&there.about()));
        return Ok(Err(Refusal { reason: RefusalReason::Conflict, text, data }));
    }
    let record = json(&AgentRecord { card, written: Written::by(entry) });
    Kind::AGENTS.put(view, id, record.as_bytes().to_vec(), there.is_none())
}

fn is_agent_id(id: &str) -> bool {
    id.len() <= MAX_AGENT_ID
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn remove(view: &mut dyn ViewMut, kind: &Kind, id: &str) -> Result<Applied, StoreError> {
    let key = kind.key(id);
    let removed = view.get(&key)?.is_some();
    if removed {
        let count = kind.count(view)?;
        view.delete(&key);
        kind.set_count(view, count.saturating_sub(1));
    }
    Ok(Ok(json(&Removed { removed })))
}

fn invalid(text: String) -> Refusal {
    refusal(RefusalReason::Invalid, text)
}

fn refusal(reason: RefusalReason, text: String) -> Refusal {
    Refusal { reason, text, data: None }
}

/// Serialises one of our own, which cannot fail: names are strings, and nothing has a serializer that refuses.
fn json(value: &impl Serialize) -> Json {
    Json::from_serialize(value).unwrap_or_default()
}

/// The records of a view: all servers, in the order of their ids.
pub(crate) fn servers(view: &dyn View) -> spanwire_model::Result<Vec<(ServerId, Option<ServerRecord>)>> {
    record::scan(view, SERVERS)
}

/// A page of agents.
pub(crate) fn agents(view: &dyn View, query: &AgentQuery) -> spanwire_model::Result<AgentPage> {
    let total = agent_count(view)?;
    let (agents, next) = match &query.id {
        Some(id) => (record::one(view, AGENTS, id)?.into_iter().collect(), None),
        None => record::page(view, AGENTS, query.after.as_ref(), query.limit)?,
    };
    let agents: Vec<(AgentId, Option<AgentRecord>)> = agents;
    let agents = agents.into_iter().map(|(id, record)| Agent { id, known: record.map(AgentRecord::known) }).collect();
    Ok(AgentPage { agents, next, total })
}

/// How many agents there are.
pub(crate) fn agent_count(view: &dyn View) -> spanwire_model::Result<u64> {
    Kind::AGENTS.count(view).map_err(record::failed)
}

#[cfg(test)]
mod tests;
