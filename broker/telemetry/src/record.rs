//! A span that has ended, as data.

mod hex;

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

pub(crate) use hex::trace_id as trace_id_hex;

/// A span that has ended. As JSON it travels between nodes and to the web page; ids are hex text there, since they are
/// larger than what a JSON number carries safely.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SpanRecord {
    /// The trace.
    #[serde(with = "hex::trace_id")]
    pub trace_id: u128,
    /// The span.
    #[serde(with = "hex::span_id")]
    pub span_id: u64,
    /// Its parent; `None` for the root of the trace.
    #[serde(default, with = "hex::optional_span_id", skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<u64>,
    /// True when the parent is in another process, or on the other side of the backbone.
    #[serde(default)]
    pub remote_parent: bool,
    /// What was done, such as `tools/call git__log`.
    pub name: Cow<'static, str>,
    /// Its place in the exchange.
    pub kind: SpanKind,
    /// When it began, in nanoseconds of the Unix epoch, by the node's clock.
    pub start_unix_nanos: u64,
    /// When it ended: the beginning plus the time that passed on a clock that is never set.
    pub end_unix_nanos: u64,
    /// What is known of it, by the keys of [`crate::names`]; each key once.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
    /// Spans it belongs to besides its parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<SpanLink>,
    /// The description of the error status; `None` leaves the status unset. The class is in `error.type`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The node that recorded it.
    pub node: String,
    /// Vendors' state that travelled with the trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracestate: Option<Arc<str>>,
}

/// A span that another one belongs to besides its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanLink {
    /// The trace.
    #[serde(with = "hex::trace_id")]
    pub trace_id: u128,
    /// The span.
    #[serde(with = "hex::span_id")]
    pub span_id: u64,
}

/// The place of a span in an exchange (OpenTelemetry trace API, "SpanKind").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpanKind {
    /// Answers a request from outside. Its parent is remote.
    Server,
    /// Asks someone outside and waits.
    Client,
    /// Puts a message on the backbone.
    Producer,
    /// Takes a message from the backbone. Its parent is remote.
    Consumer,
    /// Work inside the node.
    Internal,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text, cut at [`SpanRecord::MAX_TEXT_BYTES`].
    Text(Cow<'static, str>),
}

impl SpanRecord {
    /// Most attributes of one span; further ones are not kept.
    pub const MAX_ATTRIBUTES: usize = 64;
    /// Most links of one span; further ones are not kept.
    pub const MAX_LINKS: usize = 8;
    /// Longest text of an attribute or an error, in bytes.
    pub const MAX_TEXT_BYTES: usize = 4096;

    /// The value of an attribute.
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// How long it took.
    pub fn duration_nanos(&self) -> u64 {
        self.end_unix_nanos.saturating_sub(self.start_unix_nanos)
    }

    /// True when no other span of this node is its parent.
    pub fn is_local_root(&self) -> bool {
        self.parent_span_id.is_none() || self.remote_parent
    }

    /// About how much memory it takes.
    pub(crate) fn about_bytes(&self) -> usize {
        let texts = self.attributes.iter().filter_map(|(_, value)| value.as_text()).map(str::len).sum::<usize>();
        let pairs = self.attributes.capacity() * size_of::<(Cow<'static, str>, Value)>();
        size_of::<Self>() + pairs + texts + self.name.len() + self.error.as_deref().map_or(0, str::len)
    }

    pub(crate) fn set(&mut self, key: impl Into<Cow<'static, str>>, value: Value) {
        let (key, value) = (key.into(), value.cut());
        if let Some((_, old)) = self.attributes.iter_mut().find(|(name, _)| *name == key) {
            *old = value;
        } else if self.attributes.len() < Self::MAX_ATTRIBUTES {
            self.attributes.push((key, value));
        }
    }
}

impl SpanKind {
    /// True for the kinds whose parent comes from outside of the process.
    pub fn has_remote_parent(self) -> bool {
        match self {
            Self::Server | Self::Consumer => true,
            Self::Client | Self::Producer | Self::Internal => false,
        }
    }
}

impl Value {
    /// The text, when it is one.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => None,
        }
    }

    fn cut(self) -> Self {
        match self {
            Self::Text(text) => Self::Text(cut(text)),
            Self::Bool(_) | Self::Int(_) | Self::Float(_) => self,
        }
    }
}

/// Text that fits into a record.
pub(crate) fn cut(text: Cow<'static, str>) -> Cow<'static, str> {
    const MARK: &str = "…truncated";
    if text.len() <= SpanRecord::MAX_TEXT_BYTES {
        return text;
    }
    let end = text.floor_char_boundary(SpanRecord::MAX_TEXT_BYTES - MARK.len());
    format!("{}{MARK}", &text[..end]).into()
}

macro_rules! values {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

values!(
    bool => Bool,
    i64 => Int, i32 => Int, u32 => Int, u16 => Int, u8 => Int,
    f64 => Float,
    &'static str => Text, String => Text, Cow<'static, str> => Text,
);

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests;
