//! `ctx://{space}` and `ctx://{space}/{key}`.

use percent_encoding::percent_decode_str;
use spanwire_model::{Error, ErrorKind, Result};

use crate::{Key, SpaceName};

const SCHEME: &str = "ctx://";

/// What a URI names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Named {
    /// A space: all of its keys.
    Space(SpaceName),
    /// One key.
    Key(SpaceName, Key),
}

/// Reads a URI.
///
/// # Errors
/// `InvalidParams` for what names neither.
pub(super) fn parse(uri: &str) -> Result<Named> {
    let rest = uri.strip_prefix(SCHEME).ok_or_else(no_uri)?;
    let (space, key) = rest.split_once('/').unwrap_or((rest, ""));
    let space = space.parse().map_err(|_| no_uri())?;
    if key.is_empty() {
        return Ok(Named::Space(space));
    }
    let key = percent_decode_str(key).decode_utf8().map_err(|_| no_uri())?;
    Ok(Named::Key(space, key.parse().map_err(|_| no_uri())?))
}

/// A key as the variable of the template that names it. `{+key}` leaves what looks like an escape as it is (RFC 6570, 3.2.3): a `%` of the
/// key's own that does is escaped here.
pub(super) fn variable(key: &Key) -> String {
    let text = key.as_str();
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        out.push(c);
        let is_escape = || text.as_bytes().get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        if c == '%' && is_escape() {
            out.push_str("25");
        }
    }
    out
}

/// How the keys begin that the beginning of a variable names; `None` where no key can.
pub(super) fn prefix_of(typed: &str) -> Option<String> {
    percent_decode_str(typed).decode_utf8().ok().map(Into::into)
}

impl Named {
    /// It is not there, or may not be read. Without its URI: whoever reads through a federated view knows it under another one.
    pub(super) fn unknown(&self) -> Error {
        let text = match self {
            Self::Space(space) => format!("unknown resource: there is no space \"{space}\""),
            Self::Key(space, key) => format!("unknown resource: there is no key \"{key}\" in space \"{space}\""),
        };
        Error::new(ErrorKind::InvalidParams, text)
    }
}

fn no_uri() -> Error {
    let text = "unknown resource: it names neither a space of the shared context nor a key of one";
    Error::new(ErrorKind::InvalidParams, text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// What a client makes of the template with a variable (RFC 6570, 3.2.1 and 3.2.3).
    fn expanded(variable: &str) -> String {
        let mut uri = "ctx://plan/".to_owned();
        let bytes = variable.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            let is_escape =
                *byte == b'%' && bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
            if byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=".contains(byte) || is_escape {
                uri.push(char::from(*byte));
            } else {
                uri.push_str(&format!("%{byte:02X}"));
            }
        }
        uri
    }

    #[test]
    fn a_variable_names_its_key() {
        for text in ["a/b", "100%", "100%25", "100%2525", "%%41", "%2%41", "%4", "ä%C3%A4", "% 41", "%ä", "%aä", "{}?#"]
        {
            let key: Key = text.parse().unwrap();
            let variable = variable(&key);
            let named = parse(&expanded(&variable)).unwrap();
            assert_eq!(named, Named::Key("plan".parse().unwrap(), key), "{text} as {variable}");
            assert_eq!(prefix_of(&variable).as_deref(), Some(text));
        }
        assert_eq!(variable(&"100%".parse().unwrap()), "100%");
        assert_eq!(variable(&"100%25".parse().unwrap()), "100%2525");
        assert_eq!(prefix_of("%C3"), None);
    }

    #[test]
    fn uris_are_read() {
        let space: SpaceName = "plan".parse().unwrap();
        for (key, uri) in [
            ("a", "ctx://plan/a"),
            ("team/ä b", "ctx://plan/team/%C3%A4%20b"),
            ("100%#?{x}", "ctx://plan/100%25%23%3F%7Bx%7D"),
            ("/", "ctx://plan//"),
        ] {
            let key: Key = key.parse().unwrap();
            assert_eq!(parse(uri).unwrap(), Named::Key(space.clone(), key));
        }
        assert_eq!(parse("ctx://plan").unwrap(), Named::Space(space.clone()));
        assert_eq!(parse("ctx://plan/").unwrap(), Named::Space(space.clone()));
        // As a person writes it.
        assert_eq!(parse("ctx://plan/ä b").unwrap(), Named::Key(space, "ä b".parse().unwrap()));
        for bad in ["ctx:/plan", "ctx://", "ctx://a b/x", "ctx://plan/%FF", "ctx://plan/%0A", "file:///x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
