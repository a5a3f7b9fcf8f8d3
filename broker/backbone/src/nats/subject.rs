//! Subjects, and the tokens they are made of.
//!
//! A token is text with every byte outside `A-Za-z0-9_-` written as `=HH`, so that any name can be a token and comes back
//! as it was. `_` alone is "absent", `=` alone is the empty text. Text whose token would be longer than [`MAX_TOKEN`] is
//! replaced by `==` and a digest: such a name is in a header, and the two must agree.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use spanwire_model::{Address, BusRequest, NodeId, ServerId, Tenant, Topic};

/// Longest token, in bytes. Seven of them fit into the server's control line of 4096 bytes.
pub(super) const MAX_TOKEN: usize = 200;
/// Bytes of a digest that stand for a name.
const DIGEST_BYTES: usize = 16;
/// What is not there.
const ABSENT: &str = "_";
/// The node token of a message to every node.
const EVERYONE: &str = "=all";

/// A token as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Absent,
    Text(String),
    /// Too long to be here: the text is in a header.
    Shortened,
}

/// Writes a text as a token.
pub(super) fn token(text: &str) -> String {
    match text {
        "" => return "=".into(),
        ABSENT => return "=5F".into(),
        _ => {}
    }
    let escaped = escape(text);
    if escaped.len() <= MAX_TOKEN {
        return escaped;
    }
    let digest = Sha256::digest(text);
    digest.iter().take(DIGEST_BYTES).fold("==".to_owned(), |mut token, byte| {
        let _ = write!(token, "{byte:02x}");
        token
    })
}

/// Writes a text that may be absent.
pub(super) fn optional(text: Option<&str>) -> String {
    text.map_or_else(|| ABSENT.into(), token)
}

/// Reads a token; `None` when it is not one of ours.
pub(super) fn read(token: &str) -> Option<Token> {
    match token {
        ABSENT => Some(Token::Absent),
        "=" => Some(Token::Text(String::new())),
        _ if token.starts_with("==") => Some(Token::Shortened),
        _ => unescape(token).map(Token::Text),
    }
}

/// Writes every byte outside `A-Za-z0-9_-` as `=HH`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "={byte:02X}");
        }
    }
    escaped
}

/// Reverses [`escape`].
pub(super) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'=' {
            let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The subjects of one connection.
#[derive(Debug)]
pub(super) struct Subjects {
    /// `{prefix}.{tenant}`.
    base: String,
    node: NodeId,
    connection: String,
}

impl Subjects {
    pub(super) fn new(prefix: &str, tenant: &Tenant, node: NodeId, connection: String) -> Self {
        Self { base: format!("{prefix}.{tenant}"), node, connection }
    }

    /// Where a request goes.
    pub(super) fn request(&self, to: &Address, request: &BusRequest) -> String {
        let (principal, method) = (token(&request.principal), token(&request.method));
        let name = optional(request.name.as_deref());
        let base = &self.base;
        match to {
            Address::Server(server) => format!("{base}.call.{principal}.{server}.{method}.{name}"),
            Address::Node(node) => {
                let server = optional(request.server.as_ref().map(ServerId::as_str));
                format!("{base}.node.{node}.{principal}.{server}.{method}.{name}")
            }
        }
    }

    /// Requests to a server, for its queue group.
    pub(super) fn requests_to_server(&self, server: &ServerId) -> String {
        format!("{}.call.*.{server}.*.*", self.base)
    }

    /// Requests to this node.
    pub(super) fn requests_to_this_node(&self) -> String {
        format!("{}.node.{}.*.*.*.*", self.base, self.node)
    }

    /// Principal, server, method and name of a request's subject.
    pub(super) fn read_request<'a>(&self, subject: &'a str) -> Option<[&'a str; 4]> {
        let rest = subject.strip_prefix(&self.base)?.strip_prefix('.')?;
        let tokens: Vec<&str> = rest.split('.').collect();
        match tokens[..] {
            ["call", principal, server, method, name] | ["node", _, principal, server, method, name] => {
                Some([principal, server, method, name])
            }
            _ => None,
        }
    }

    /// Control of a running call on a node that is known.
    pub(super) fn control(&self, node: &NodeId, key: &str) -> String {
        format!("{}.ctl.{node}.{key}", self.base)
    }

    /// Control of a running call, wherever it is.
    pub(super) fn control_anywhere(&self, key: &str) -> String {
        format!("{}.ctl.{EVERYONE}.{key}", self.base)
    }

    /// Control of calls on this node, and of calls whose node is not known.
    pub(super) fn controls(&self) -> [String; 2] {
        [format!("{}.ctl.{}.*", self.base, self.node), format!("{}.ctl.{EVERYONE}.*", self.base)]
    }

    /// Where the reply with this key comes back.
    pub(super) fn inbox(&self, key: &str) -> String {
        format!("{}.inbox.{}.{}.{key}", self.base, self.node, self.connection)
    }

    /// Everything that comes back.
    pub(super) fn inboxes(&self) -> String {
        self.inbox("*")
    }

    /// The key of a reply subject, which must be an inbox of this tenant: nothing else is ever answered.
    pub(super) fn key_of_reply<'a>(&self, subject: &'a str) -> Option<&'a str> {
        let rest = subject.strip_prefix(&self.base)?.strip_prefix(".inbox.")?;
        let tokens: Vec<&str> = rest.split('.').collect();
        match tokens[..] {
            [_, _, key] if is_key(key) => Some(key),
            _ => None,
        }
    }

    /// Where an event is published.
    pub(super) fn event(&self, topic: &Topic) -> String {
        format!("{}.evt.{}.{}.{}", self.base, token(&topic.kind), token(&topic.id), token(&topic.what))
    }

    /// All events of a kind.
    pub(super) fn events(&self, kind: &str) -> String {
        format!("{}.evt.{}.*.*", self.base, token(kind))
    }

    /// Kind, id and what of an event's subject.
    pub(super) fn read_event<'a>(&self, subject: &'a str) -> Option<[&'a str; 3]> {
        let rest = subject.strip_prefix(&self.base)?.strip_prefix(".evt.")?;
        let tokens: Vec<&str> = rest.split('.').collect();
        tokens.try_into().ok()
    }
}

/// The last token.
pub(super) fn last_token(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or_default()
}

fn is_key(key: &str) -> bool {
    !key.is_empty() && key.len() <= MAX_TOKEN && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn tokens_come_back() {
        for (text, expected) in [
            ("read_file", "read_file"),
            ("admin.tools.list", "admin=2Etools=2Elist"),
            ("tools/call", "tools=2Fcall"),
            ("_", "=5F"),
            ("__", "__"),
            ("", "="),
            ("=", "=3D"),
            ("*", "=2A"),
            (">", "=3E"),
            ("ü\r\n", "=C3=BC=0D=0A"),
        ] {
            assert_eq!(token(text), expected, "{text}");
            assert_eq!(read(expected), Some(Token::Text(text.into())), "{text}");
        }
        assert_eq!(optional(None), "_");
        assert_eq!(read("_"), Some(Token::Absent));
        for broken in ["a=", "a=2", "=zz", "=FF", "a=C3"] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn long_names_are_shortened() {
        let fits = "a".repeat(MAX_TOKEN);
        assert_eq!(token(&fits), fits);
        let (one, other) = (token(&format!("{fits}b")), token(&format!("{fits}c")));
        assert_ne!(one, other);
        assert_eq!((one.len(), read(&one)), (2 + 2 * DIGEST_BYTES, Some(Token::Shortened)));
    }

    #[test]
    fn subjects_in_and_out() {
        let node: NodeId = "n1".parse().unwrap();
        let subjects = Subjects::new("sw.v1", &Tenant::default(), node.clone(), "c0".into());
        assert_eq!(
            subjects.read_request("sw.v1.default.call.anna.fs.tools=2Fcall._"),
            Some(["anna", "fs", "tools=2Fcall", "_"])
        );
        assert_eq!(subjects.read_request("sw.v1.default.node.n1.anna.fs.m.x"), Some(["anna", "fs", "m", "x"]));
        for other in ["sw.v1.other.call.anna.fs.m.x", "sw.v1.default.call.anna.fs.m", "sw.v1.default.evt.a.b.c"] {
            assert_eq!(subjects.read_request(other), None, "{other}");
        }
        assert_eq!(subjects.inbox("k"), "sw.v1.default.inbox.n1.c0.k");
        assert_eq!(subjects.key_of_reply("sw.v1.default.inbox.n2.c1.k-1"), Some("k-1"));
        for other in ["sw.v1.other.inbox.n.c.k", "sw.v1.default.call.inbox.c.k", "sw.v1.default.inbox.n.c.*", "x"] {
            assert_eq!(subjects.key_of_reply(other), None, "{other}");
        }
        assert_eq!(subjects.control(&node, "k"), "sw.v1.default.ctl.n1.k");
        assert_eq!(subjects.control_anywhere("k"), "sw.v1.default.ctl.=all.k");
        let topic = Topic { kind: "server".into(), id: "a.b".into(), what: "up".into() };
        assert_eq!(subjects.event(&topic), "sw.v1.default.evt.server.a=2Eb.up");
        assert_eq!(subjects.read_event(&subjects.event(&topic)), Some(["server", "a=2Eb", "up"]));
    }
}
