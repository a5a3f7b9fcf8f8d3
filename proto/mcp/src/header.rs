//! HTTP headers of the Streamable HTTP transport, and how a name travels in one
//! (2026-07-28, basic/transports/streamable-http, "Request Metadata" and "Value Encoding").

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};

/// The revision of the request.
pub const PROTOCOL_VERSION: &str = "mcp-protocol-version";
/// The JSON-RPC method.
pub const METHOD: &str = "mcp-method";
/// The tool or prompt name, or the resource URI.
pub const NAME: &str = "mcp-name";
/// The session of a legacy client.
pub const SESSION_ID: &str = "mcp-session-id";
/// The prefix of headers that mirror tool arguments.
pub const PARAM_PREFIX: &str = "mcp-param-";

const OPEN: &str = "=?base64?";
const CLOSE: &str = "?=";

/// Encodes a name for a header: as it is when every byte is safe there, in the Base64 form otherwise.
pub fn encode_name(name: &str) -> Cow<'_, str> {
    let plain = name.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && name.trim() == name
        && !name.is_empty()
        && !(name.starts_with(OPEN) && name.ends_with(CLOSE));
    if plain { Cow::Borrowed(name) } else { Cow::Owned(format!("{OPEN}{}{CLOSE}", BASE64_STANDARD.encode(name))) }
}

/// Decodes a header value made by [`encode_name`]; `None` when the Base64 form holds no UTF-8.
pub fn decode_name(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)) else {
        return Some(Cow::Borrowed(value));
    };
    let bytes = BASE64_STANDARD.decode(inner).ok()?;
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        for (name, value) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(encode_name(name), value);
            assert_eq!(decode_name(value).as_deref(), Some(name));
        }
        assert_eq!(decode_name("=?base64?***?="), None);
    }
}
