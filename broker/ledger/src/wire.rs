//! What is in a log: one JSON object per entry, that a person can read.
//!
//! `{"v":1,"kind":"command","op":uuid,"version":n,"author":{"principal","node","call"?,"trace"?,"state"?},"body":{…}}`. The body of a command is
//! the book's, and its bytes are carried as they are. Barriers and checkpoints are the ledger's own: no machine sees them.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use spanwire_mcp::{Json, ObjectWriter};
use spanwire_model::{Author, Command, NodeId, TraceContext};
use uuid::Uuid;

/// The form of a message that is written here, and the newest that is understood.
const FORM: u32 = 1;

/// Bytes of a message besides its body and its author's name, at most.
const HEAD_BYTES: usize = 1024;

/// What an entry is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// For the book's machine.
    Command,
    /// For nobody: that it is in the log is what a linearizable read waits for.
    Barrier,
    /// What the view's hash was after an earlier entry, for others to compare.
    Checkpoint {
        /// The entry.
        sequence: u64,
        /// The hash after it, in hex.
        hash: String,
    },
}

/// One message of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    pub(crate) operation: Uuid,
    pub(crate) version: u16,
    pub(crate) author: Author,
    pub(crate) body: Json,
}

/// Why a message cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// Of a newer program, as far as can be told.
    #[error("it is of form {form}, kind \"{kind}\", which this version does not know")]
    Unknown { form: u32, kind: String },
    /// Not a message at all.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

#[derive(Serialize, Deserialize)]
struct AuthorForm<'a> {
    #[serde(borrow)]
    principal: Cow<'a, str>,
    node: NodeId,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    call: Option<Cow<'a, str>>,
    /// A `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    trace: Option<Cow<'a, str>>,
    /// A `tracestate`.
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    state: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct CheckpointForm {
    sequence: u64,
    hash: String,
}

/// The members are read as text first: what they mean depends on the form.
#[derive(Deserialize)]
struct Envelope<'a> {
    v: u32,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    op: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    author: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

impl Message {
    /// A command as a message.
    pub(crate) fn of(command: Command) -> Self {
        let Command { operation, version, author, body } = command;
        Self { kind: Kind::Command, operation, version, author, body }
    }

    /// A message of the ledger's own.
    pub(crate) fn own(kind: Kind, node: NodeId) -> Self {
        let author = Author { principal: "ledger".into(), node, call: None, trace: None };
        Self { kind, operation: Uuid::new_v4(), version: 1, author, body: Json::empty_object() }
    }

    /// The text.
    pub(crate) fn encode(&self) -> Bytes {
        let (kind, body) = match &self.kind {
            Kind::Command => ("command", self.body.clone()),
            Kind::Barrier => ("barrier", self.body.clone()),
            Kind::Checkpoint { sequence, hash } => ("checkpoint", checkpoint(*sequence, hash)),
        };
        let trace = self.author.trace.as_ref();
        let author = AuthorForm {
            principal: Cow::Borrowed(&self.author.principal),
            node: self.author.node.clone(),
            call: self.author.call.map(|call| call.to_string().into()),
            trace: trace.map(|trace| trace.traceparent().into()),
            state: trace.and_then(|trace| trace.tracestate.as_deref().map(Cow::Borrowed)),
        };
        // Texts and numbers always have a JSON form.
        let author = Json::from_serialize(&author).unwrap_or_else(|_| Json::empty_object());
        let mut text = ObjectWriter::with_capacity(body.len() + author.len() + HEAD_BYTES);
        text.member("v", FORM.to_string().as_bytes());
        text.member("kind", format!("\"{kind}\"").as_bytes());
        text.member("op", format!("\"{}\"", self.operation).as_bytes());
        text.member("version", self.version.to_string().as_bytes());
        text.member("author", author.as_bytes());
        text.member("body", body.as_bytes());
        text.finish().as_bytes().clone()
    }

    /// Reads the text. The body shares its bytes.
    ///
    /// # Errors
    /// For what this version does not know, and for what is no message.
    pub(crate) fn decode(payload: &Bytes) -> Result<Self, WireError> {
        let form: Envelope<'_> = serde_json::from_slice(payload).map_err(unreadable)?;
        let unknown = || WireError::Unknown { form: form.v, kind: form.kind.chars().take(40).collect() };
        if form.v != FORM {
            return Err(unknown());
        }
        let body = form.body.map_or_else(Json::empty_object, |raw| cut(payload, raw));
        let kind = match form.kind.as_ref() {
            "command" => Kind::Command,
            "barrier" => Kind::Barrier,
            "checkpoint" => {
                let CheckpointForm { sequence, hash } = body.read().map_err(unreadable)?;
                Kind::Checkpoint { sequence, hash }
            }
            _ => return Err(unknown()),
        };
        let author: AuthorForm<'_> = member(form.author, "author")?;
        let call = author.call.as_deref().map(id).transpose()?;
        let trace = author.trace.and_then(|parent| TraceContext::parse(&parent, author.state.as_deref()).ok());
        Ok(Self {
            kind,
            operation: id(&member::<Cow<'_, str>>(form.op, "op")?)?,
            version: member(form.version, "version")?,
            author: Author { principal: author.principal.into(), node: author.node, call, trace },
            body,
        })
    }
}

fn checkpoint(sequence: u64, hash: &str) -> Json {
    let form = CheckpointForm { sequence, hash: hash.to_owned() };
    Json::from_serialize(&form).unwrap_or_else(|_| Json::empty_object())
}

fn cut(payload: &Bytes, raw: &RawValue) -> Json {
    Json::from_trusted(payload.slice_ref(raw.get().as_bytes()))
}

fn member<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>, name: &str) -> Result<T, WireError> {
    let raw = raw.ok_or_else(|| WireError::Unreadable(format!("it has no \"{name}\"")))?;
    serde_json::from_str(raw.get()).map_err(unreadable)
}

fn id(text: &str) -> Result<Uuid, WireError> {
    Uuid::parse_str(text).map_err(|error| WireError::Unreadable(error.to_string()))
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: serde_json::Error) -> WireError {
    WireError::Unreadable(error.to_string())
}

#[cfg(test)]
mod tests;
