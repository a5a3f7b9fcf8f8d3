//! Who may do what in which space.

use crate::{Key, SpaceName};

/// What is done with a key, or with a space as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Read it, watch it.
    Read,
    /// Add to the end of it.
    Append,
    /// Change it in any way.
    Write,
    /// Drop the space.
    Admin,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Append, Self::Write, Self::Admin];
}

/// Decides who may do what.
///
/// Laws: cheap and pure, asked for each key. `key` is `None` for the space as a whole: `Read` asks whether it may be known at all.
/// What may not be read reads like what does not exist.
pub trait Access: Send + Sync + 'static {
    /// True when the principal may.
    fn may(&self, principal: &str, space: &SpaceName, key: Option<&Key>, verb: Verb) -> bool;

    /// True when the principal may read every key of the space, also those that are not there yet: so it may know what the space
    /// counts, too.
    fn may_read_all(&self, principal: &str, space: &SpaceName) -> bool;
}

/// Everybody may do everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct AllowAll;

impl Access for AllowAll {
    fn may(&self, _principal: &str, _space: &SpaceName, _key: Option<&Key>, _verb: Verb) -> bool {
        true
    }

    fn may_read_all(&self, _principal: &str, _space: &SpaceName) -> bool {
        true
    }
}

/// One line of an [`AllowList`]. A pattern is a text as it is, or its beginning with a `*` at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose it is: a pattern of principals.
    pub principal: String,
    /// Where: a pattern of spaces.
    pub space: String,
    /// Which keys: a pattern of keys, such as `team/*`.
    pub key: String,
    /// What they may.
    pub verbs: Vec<Verb>,
}

/// Who is named may; nobody else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowList {
    rules: Vec<Rule>,
}

impl AllowList {
    /// A list of rules; one that allows is enough.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self { rules }
    }
}

impl Access for AllowList {
    fn may(&self, principal: &str, space: &SpaceName, key: Option<&Key>, verb: Verb) -> bool {
        self.rules.iter().any(|rule| {
            let key_fits = match (key, verb) {
                (Some(key), _) => fits(&rule.key, key.as_str()),
                // Whoever may read a part of a space may know of it.
                (None, Verb::Read) => true,
                (None, Verb::Append | Verb::Write | Verb::Admin) => rule.key == "*",
            };
            key_fits
                && rule.verbs.contains(&verb)
                && fits(&rule.principal, principal)
                && fits(&rule.space, space.as_str())
        })
    }

    fn may_read_all(&self, principal: &str, space: &SpaceName) -> bool {
        self.rules.iter().any(|rule| {
            rule.key == "*"
                && rule.verbs.contains(&Verb::Read)
                && fits(&rule.principal, principal)
                && fits(&rule.space, space.as_str())
        })
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |prefix| text.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_allow_list_allows_what_it_names() {
        let rule = |principal: &str, key: &str, verbs: &[Verb]| Rule {
            principal: principal.into(),
            space: "plan*".into(),
            key: key.into(),
            verbs: verbs.to_vec(),
        };
        let list =
            AllowList::new(vec![rule("ann", "team/*", &[Verb::Read, Verb::Write]), rule("root", "*", &Verb::ALL)]);
        let check = |principal: &str, space: &str, key: Option<&str>, verb: Verb, expected: bool| {
            let key: Option<Key> = key.map(|key| key.parse().unwrap());
            let may = list.may(principal, &space.parse().unwrap(), key.as_ref(), verb);
            assert_eq!(may, expected, "{principal} {space} {key:?} {verb:?}");
        };
        check("ann", "plans", Some("team/a"), Verb::Read, true);
        check("ann", "plans", Some("team/a"), Verb::Write, true);
        check("ann", "plans", Some("team/a"), Verb::Append, false);
        check("ann", "plans", Some("other"), Verb::Read, false);
        check("ann", "notes", Some("team/a"), Verb::Read, false);
        check("ann", "plans", None, Verb::Read, true);
        check("ann", "plans", None, Verb::Admin, false);
        check("ann", "notes", None, Verb::Read, false);
        check("bob", "plans", None, Verb::Read, false);
        check("root", "plans", None, Verb::Admin, true);
    }
}
