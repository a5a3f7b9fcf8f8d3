//! Texts that a client keeps for us: the `requestState` of a call that waits for input, and the ids of tasks.
//!
//! What a server gives out is sealed on its way to the client and opened on its way back, so that it can be used by the principal
//! that it was given to and by nobody else. A server cannot see to that itself: all it ever meets is the broker. The front part can
//! be read by every node and says where the text belongs; it is authenticated along with the rest:
//!
//! ```text
//! sw1.{kind}.{node}.{server}.{base64url(tool)}.{base64url(nonce ‖ ChaCha20-Poly1305(payload))}
//! ```
//!
//! Each node has a key of its own, and a text is opened where it was sealed; nodes that are given one common secret can open each
//! other's (broker/decisions/0018). The nonce is made from what is sealed, so it cannot come twice for different texts.
//! Source of the demands: 2026-07-28, basic/patterns/mrtr, "Server Requirements".

use std::{
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{aead, digest, hkdf, hmac};
use serde::{Deserialize, Serialize};
use spanwire_mcp::{Json, Method, Params};
use spanwire_model::{Call, NodeId, ServerId};

/// How every sealed text begins.
const VERSION: &str = "sw1";
/// Longest text that is looked at, in bytes.
const MAX_SEALED: usize = 64 * 1024;

/// What a text stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A call that is parked in the connection to a server of one node: nobody else can go on with it.
    Parked,
    /// The state of a server that keeps none itself: any replica can go on.
    State,
    /// A task.
    Task,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Parked => "parked",
            Self::State => "state",
            Self::Task => "task",
        }
    }
}

/// The part that every node can read: where the text belongs. Nothing is proved by it before the text was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) kind: Kind,
    /// The node that sealed it, and has the call or the task.
    pub(crate) node: NodeId,
    pub(crate) server: ServerId,
    /// The server's own name of the tool that made the task; empty for the other kinds.
    pub(crate) tool: String,
}

/// The part that only its sealer can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Payload {
    /// Whom it was given to.
    #[serde(rename = "p")]
    pub(crate) principal: String,
    /// Second of the Unix epoch after which it is of no use; 0 for never.
    #[serde(rename = "e")]
    pub(crate) expires_s: u64,
    /// Digest of the request that it was given for; empty for a task.
    #[serde(rename = "d")]
    pub(crate) digest: String,
    /// Where the call stood in its trace, for the link of the retry's spans.
    #[serde(rename = "t")]
    pub(crate) traceparent: String,
    /// What the server gave out.
    #[serde(rename = "v")]
    pub(crate) value: String,
}

/// Why a text is of no use here. The client is told nothing but that it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it is no sealed text")]
    Form,
    #[error("it was not sealed with a key of this node")]
    Forged,
    #[error("it is expired")]
    Expired,
    #[error("it was given to another principal")]
    Principal,
    #[error("it was given for another request")]
    Request,
}

impl Front {
    /// Reads the front of a text.
    pub(crate) fn of(text: &str) -> Result<Self, Refused> {
        Ok(split(text)?.0)
    }

    fn text(&self) -> String {
        let tool = BASE64_URL_SAFE_NO_PAD.encode(&self.tool);
        format!("{VERSION}.{}.{}.{}.{tool}", self.kind.as_str(), self.node, self.server)
    }
}

/// The front, its text, and the sealed part as text.
fn split(text: &str) -> Result<(Front, &str, &str), Refused> {
    if text.len() > MAX_SEALED {
        return Err(Refused::Form);
    }
    let (front, sealed) = text.rsplit_once('.').ok_or(Refused::Form)?;
    let mut parts = front.split('.');
    let mut next = || parts.next().ok_or(Refused::Form);
    if next()? != VERSION {
        return Err(Refused::Form);
    }
    let kind = match next()? {
        "parked" => Kind::Parked,
        "state" => Kind::State,
        "task" => Kind::Task,
        _ => return Err(Refused::Form),
    };
    let node = NodeId::from_str(next()?).map_err(|_| Refused::Form)?;
    let server = ServerId::from_str(next()?).map_err(|_| Refused::Form)?;
    let tool = BASE64_URL_SAFE_NO_PAD.decode(next()?).map_err(|_| Refused::Form)?;
    let tool = String::from_utf8(tool).map_err(|_| Refused::Form)?;
    if parts.next().is_some() {
        return Err(Refused::Form);
    }
    Ok((Front { kind, node, server, tool }, front, sealed))
}

/// The key of this node.
pub(crate) struct Seal {
    key: aead::LessSafeKey,
    nonces: hmac::Key,
}

/// A length for [`hkdf`].
struct Bytes32;

impl hkdf::KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl Seal {
    /// A seal from a secret. `None` only if the cryptographic library refuses its own sizes.
    pub(crate) fn new(secret: &[u8]) -> Option<Self> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"spanwire seal 1");
        let extracted = salt.extract(secret);
        let derive = |purpose: &'static [u8]| {
            let mut key = [0_u8; 32];
            extracted.expand(&[purpose], Bytes32).ok()?.fill(&mut key).ok()?;
            Some(key)
        };
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &derive(b"aead")?).ok()?;
        let nonces = hmac::Key::new(hmac::HMAC_SHA256, &derive(b"nonce")?);
        Some(Self { key: aead::LessSafeKey::new(key), nonces })
    }

    /// Seals. `None` only if the payload cannot be written.
    pub(crate) fn seal(&self, front: &Front, payload: &Payload) -> Option<String> {
        let mut body = serde_json::to_vec(payload).ok()?;
        let front = front.text();
        let mut context = hmac::Context::with_key(&self.nonces);
        context.update(front.as_bytes());
        context.update(b"\0");
        context.update(&body);
        let nonce: [u8; aead::NONCE_LEN] = context.sign().as_ref().get(..aead::NONCE_LEN)?.try_into().ok()?;
        let aad = aead::Aad::from(front.as_bytes());
        self.key.seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), aad, &mut body).ok()?;
        let sealed = BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &body].concat());
        Some(format!("{front}.{sealed}"))
    }

    /// Opens, and says whom it was given to: the caller compares the rest with the call ([`Payload::check`]).
    pub(crate) fn open(&self, text: &str) -> Result<(Front, Payload), Refused> {
        let (front, front_text, sealed) = split(text)?;
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(sealed).map_err(|_| Refused::Form)?;
        let (nonce, body) = bytes.split_at_mut_checked(aead::NONCE_LEN).ok_or(Refused::Form)?;
        let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(|_| Refused::Form)?;
        let aad = aead::Aad::from(front_text.as_bytes());
        let body = self.key.open_in_place(nonce, aad, body).map_err(|_| Refused::Forged)?;
        let payload = serde_json::from_slice(body).map_err(|_| Refused::Forged)?;
        Ok((front, payload))
    }
}

impl Payload {
    /// Compares what was sealed with the call that brings it.
    pub(crate) fn check(&self, call: &Call) -> Result<(), Refused> {
        if self.expires_s != 0 && self.expires_s < now_s() {
            return Err(Refused::Expired);
        }
        if *self.principal != *call.principal.name {
            return Err(Refused::Principal);
        }
        if !self.digest.is_empty() && self.digest != digest_of(&call.method, &call.params) {
            return Err(Refused::Request);
        }
        Ok(())
    }
}

/// The second until which something is of use.
pub(crate) fn expires_in(after: Duration) -> u64 {
    now_s().saturating_add(after.as_secs()).saturating_add(1)
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A digest of what a request asks for: its method, name or URI, and arguments, however they are spaced and ordered. What a retry
/// adds or changes (`inputResponses`, `requestState`, `_meta`) is no part of it.
pub(crate) fn digest_of(method: &Method, params: &Json) -> String {
    let mut text = String::with_capacity(params.len() + 32);
    text.push_str(method.as_str());
    let read = Params::read(Some(params)).unwrap_or_default();
    for member in [read.name.as_deref(), read.uri.as_deref()] {
        text.push('\n');
        text.push_str(&serde_json::to_string(&member).unwrap_or_default());
    }
    text.push('\n');
    // Absent arguments ask for the same as none (2026-07-28, server/tools, "Calling Tools").
    // What cannot be decoded (a lone surrogate, a number without bounds) stands for itself, to the letter.
    let decode = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::String(text.to_owned()));
    let arguments = read.arguments.map(|arguments| decode(arguments.get()));
    write_sorted(&arguments.unwrap_or_else(|| serde_json::json!({})), &mut text);
    BASE64_URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// Writes a value with the members of its objects in the order of their keys.
fn write_sorted(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, value) in members {
                out.push_str(&serde_json::to_string(key).unwrap_or_default());
                out.push(':');
                write_sorted(value, out);
                out.push(',');
            }
            out.push('}');
        }
        serde_json::Value::Array(elements) => {
            out.push('[');
            for element in elements {
                write_sorted(element, out);
                out.push(',');
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests;
