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
