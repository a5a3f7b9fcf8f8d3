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
    let unknown = || unknown(uri);
    let rest = uri.strip_prefix(SCHEME).ok_or_else(unknown)?;
    let (space, key) = rest.split_once('/').unwrap_or((rest, ""));
    let space = space.parse().map_err(|_| unknown())?;
    if key.is_empty() {
        return Ok(Named::Space(space));
    }
    let key = percent_decode_str(key).decode_utf8().map_err(|_| unknown())?;
    Ok(Named::Key(space, key.parse().map_err(|_| unknown())?))
}

/// A resource that is not there, or may not be read.
pub(super) fn unknown(uri: &str) -> Error {
    let shown: String = uri.chars().take(200).collect();
    Error::new(ErrorKind::InvalidParams, format!("unknown resource \"{shown}\""))
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
