//! What of the node's environment a child gets to see.

use std::{collections::BTreeMap, ffi::OsString};

use spanwire_model::StdioTarget;

/// Variables that every child inherits: none of them is a secret.
const ALLOWED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TERM", "TMPDIR"];
/// Prefixes of such variables.
const ALLOWED_PREFIXES: [&str; 2] = ["LC_", "XDG_"];

/// The environment of a child: the allow-list, what the target inherits by name, what it sets; the later wins.
pub(crate) fn of(
    target: &StdioTarget,
    node: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let inherits = |key: &OsString| {
        key.to_str().is_some_and(|key| {
            ALLOWED.contains(&key)
                || ALLOWED_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
                || target.inherit_env.iter().any(|name| name == key)
        })
    };
    let mut all: BTreeMap<_, _> = node.filter(|(key, _)| inherits(key)).collect();
    all.extend(target.env.iter().map(|(key, value)| (key.into(), value.into())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_sees_the_allow_list_and_what_it_is_given() {
        let node = ["PATH=/bin", "LC_ALL=C", "AWS_SECRET=x", "TOKEN=t", "HOME=/h"];
        let node = node.iter().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into()));
        let target = StdioTarget {
            env: [("HOME".to_owned(), "/other".to_owned())].into(),
            inherit_env: vec!["TOKEN".into(), "ABSENT".into()],
            ..StdioTarget::default()
        };
        let seen: Vec<String> =
            of(&target, node).iter().map(|(k, v)| format!("{}={}", k.display(), v.display())).collect();
        assert_eq!(seen, ["HOME=/other", "LC_ALL=C", "PATH=/bin", "TOKEN=t"]);
    }
}
