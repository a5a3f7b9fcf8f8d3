//! Names of spaces and of the keys in them.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a name is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {noun} \"{text}\": {rule}")]
pub struct InvalidName {
    noun: &'static str,
    text: String,
    rule: &'static str,
}

impl From<InvalidName> for spanwire_model::Error {
    fn from(error: InvalidName) -> Self {
        Self::new(spanwire_model::ErrorKind::InvalidParams, error.to_string())
    }
}

/// Characters of a caller's text that an error shows.
const SHOWN: usize = 80;

/// A caller's text as an error shows it: so much of it, without control characters.
pub(crate) fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $noun:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { noun: $noun, text: shown(text), rule: $rule })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// The name of a space: a set of keys with one log, in one shard.
    SpaceName, "space name", "use 1 to 64 of A-Z, a-z, 0-9, . _ and -, beginning with a letter or digit", |text| {
        (1..=64).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }
);
name!(
    /// A key of a space. `/` separates its parts.
    Key, "key", "use 1 to 512 bytes of UTF-8 without control characters", |text| {
        (1..=512).contains(&text.len()) && !text.chars().any(char::is_control)
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, good) in [("a", true), ("9.x_Y-z", true), ("", false), (".a", false), ("a/b", false), ("ä", false)]
        {
            assert_eq!(text.parse::<SpaceName>().is_ok(), good, "{text}");
        }
        assert!("a".repeat(64).parse::<SpaceName>().is_ok());
        assert!("a".repeat(65).parse::<SpaceName>().is_err());
        for (text, good) in [("a/b c", true), ("ä", true), ("", false), ("a\nb", false), ("a\u{7f}", false)] {
            assert_eq!(text.parse::<Key>().is_ok(), good, "{text}");
        }
        assert!("ä".repeat(256).parse::<Key>().is_ok());
        assert!("ä".repeat(257).parse::<Key>().is_err());
    }
}
