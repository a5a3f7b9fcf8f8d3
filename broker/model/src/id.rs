//! Names of servers, agents, nodes and tenants.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Why a name is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {noun} \"{text}\": {rule}")]
pub struct InvalidId {
    noun: &'static str,
    text: String,
    rule: &'static str,
}

macro_rules! id {
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
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidId { noun: $noun, text: text.chars().take(80).collect(), rule: $rule })
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

fn dashed(text: &str, max: usize) -> bool {
    text.len() <= max
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

id!(
    /// The id of a server. It begins with a letter, because it also begins the scheme of exposed resource URIs.
    ServerId, "server id", "use 1 to 32 of a-z, 0-9 and -, beginning with a letter", |text| dashed(text, 32)
);
id!(
    /// The id of an agent.
    AgentId, "agent id", "use 1 to 64 of a-z, 0-9 and -, beginning with a letter", |text| dashed(text, 64)
);
id!(
    /// The id of a node.
    NodeId, "node id", "use 1 to 64 of a-z, 0-9 and -, beginning with a letter", |text| dashed(text, 64)
);
id!(
    /// Tenants do not see each other. One node serves one tenant for now.
    Tenant, "tenant", "use 1 to 32 of a-z, 0-9 and -, beginning with a letter", |text| dashed(text, 32)
);

impl ServerId {
    /// The id nearest to a free-form name, such as a key of an `mcpServers` file; `None` when nothing is left of it.
    pub fn from_name(name: &str) -> Option<Self> {
        let dashed: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let dashed = dashed.trim_start_matches(|c: char| !c.is_ascii_lowercase());
        dashed[..dashed.len().min(32)].trim_end_matches('-').parse().ok()
    }
}

impl Default for Tenant {
    fn default() -> Self {
        Self("default".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_ids() {
        for (text, good) in [
            ("fs", true),
            ("a-1", true),
            ("", false),
            ("1a", false),
            ("A", false),
            ("a_b", false),
            (&*"a".repeat(33), false),
        ] {
            assert_eq!(text.parse::<ServerId>().is_ok(), good, "{text}");
        }
        assert!("a".repeat(64).parse::<AgentId>().is_ok() && "a".repeat(65).parse::<AgentId>().is_err());
        let check = |name: &str, id: Option<&str>| {
            assert_eq!(ServerId::from_name(name).map(|id| id.to_string()).as_deref(), id, "{name}");
        };
        check("My Server_2", Some("my-server-2"));
        check("@scope/pkg", Some("scope-pkg"));
        check("日本", None);
    }
}
