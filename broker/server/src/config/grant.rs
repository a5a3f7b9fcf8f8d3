//! What a principal may do in the shared context: `SPACE[/KEYS]:VERB`.

use std::str::FromStr;

use spanwire_context::{Key, SpaceName};

/// What may be done. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum GrantVerb {
    /// Read, list, watch.
    Read,
    /// Add to the end of arrays.
    Append,
    /// Change in any way.
    Write,
    /// Drop the space.
    Admin,
}

impl GrantVerb {
    const ALL: [(&'static str, Self); 4] =
        [("read", Self::Read), ("append", Self::Append), ("write", Self::Write), ("admin", Self::Admin)];
}

/// One entry of a principal's `contexts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    /// A pattern of spaces: a name, or its beginning and a `*`.
    pub(crate) spaces: String,
    /// A pattern of keys, likewise.
    pub(crate) keys: String,
    /// The most that may be done there.
    pub(crate) verb: GrantVerb,
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "use SPACE:VERB or SPACE/KEYS:VERB, where SPACE and KEYS may end with *, as in \"team-*:write\"";
        // A key may hold a colon, so the last one counts.
        let (place, verb) = text.rsplit_once(':').ok_or_else(|| format!("\"{text}\" has no verb: {form}"))?;
        let known = GrantVerb::ALL.iter().find(|(name, _)| *name == verb);
        let (_, verb) = known.ok_or_else(|| {
            let near = crate::suggest::did_you_mean(verb, GrantVerb::ALL.iter().map(|(name, _)| *name));
            format!("\"{text}\": there is no verb \"{verb}\", only read, append, write and admin{near}")
        })?;
        let (spaces, keys) = place.split_once('/').unwrap_or((place, "*"));
        for pattern in [spaces, keys] {
            let name = pattern.strip_suffix('*').unwrap_or(pattern);
            if pattern.is_empty() || name.contains('*') {
                return Err(format!("\"{text}\": {form}"));
            }
        }
        // The beginning of a name keeps the rules of names as well; another one never matches anything.
        let literal = |pattern: &str| pattern.strip_suffix('*').unwrap_or(pattern).to_owned();
        let wrong = |error: spanwire_context::InvalidName| format!("\"{text}\" can never match: {error}");
        if !literal(spaces).is_empty() {
            literal(spaces).parse::<SpaceName>().map_err(wrong)?;
        }
        if !literal(keys).is_empty() {
            literal(keys).parse::<Key>().map_err(wrong)?;
        }
        Ok(Self { spaces: spaces.to_owned(), keys: keys.to_owned(), verb: *verb })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn places_and_verbs() {
        let check = |text: &str, spaces: &str, keys: &str, verb: GrantVerb| {
            let expected = Grant { spaces: spaces.into(), keys: keys.into(), verb };
            assert_eq!(text.parse::<Grant>().unwrap(), expected, "{text}");
        };
        check("*:write", "*", "*", GrantVerb::Write);
        check("team-*:read", "team-*", "*", GrantVerb::Read);
        check("plan/a:b/*:append", "plan", "a:b/*", GrantVerb::Append);
        check("plan:admin", "plan", "*", GrantVerb::Admin);
        for (text, part) in [
            ("plan", "has no verb"),
            ("plan:", "no verb \"\""),
            ("plan:wriet", "did you mean \"write\"?"),
            (":read", "SPACE:VERB"),
            ("a*b:read", "SPACE:VERB"),
            ("plan/:read", "SPACE:VERB"),
            ("team-?:read", "can never match: invalid space name \"team-?\""),
            ("Bad Name:read", "can never match"),
            ("-team*:read", "can never match"),
            ("plan/a\u{7}*:read", "can never match: invalid key"),
        ] {
            let error = text.parse::<Grant>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
