//! Names as clients see them (broker/ARCHITECTURE.md).

use spanwire_model::{ListKind, ServerId};

/// The name of an entry in the federated view: `{server}__{tool}` or `{server}+{uri}`. Both can be split again, because a server
/// id holds neither `_` nor `+`.
pub fn canonical(kind: ListKind, server: &ServerId, own_name: &str) -> String {
    match kind {
        ListKind::Tools | ListKind::Prompts => format!("{server}__{own_name}"),
        ListKind::Resources | ListKind::Templates => format!("{server}+{own_name}"),
    }
}

/// True when a server's own name reads like one that carries a server.
pub(crate) fn is_prefixed(own_name: &str) -> bool {
    own_name.split_once("__").is_some_and(|(server, _)| server.parse::<ServerId>().is_ok())
}

/// Splits an exposed resource URI into the server and its own URI.
pub fn split_resource(uri: &str) -> Option<(ServerId, &str)> {
    let (server, own) = uri.split_once('+')?;
    Some((server.parse().ok()?, own)).filter(|(_, own)| !own.is_empty())
}

/// The name nearest to one that does not exist, when it is near enough to be meant.
pub fn suggest<'a>(wanted: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(wanted, name), name))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_split_at_the_first_plus() {
        let check = |uri: &str, expected: Option<(&str, &str)>| {
            let got = split_resource(uri).map(|(server, own)| (server.to_string(), own));
            assert_eq!(got.as_ref().map(|(server, own)| (server.as_str(), *own)), expected, "{uri}");
        };
        check("fs+file:///a+b", Some(("fs", "file:///a+b")));
        check("git-1+git+ssh://x", Some(("git-1", "git+ssh://x")));
        check("file:///a", None);
        check("fs+", None);
        check("FS+x:", None);
    }

    #[test]
    fn suggestions_are_near() {
        assert_eq!(suggest("fs__reed_file", ["fs__read_file", "git__log"]), Some("fs__read_file"));
        assert_eq!(suggest("zzz", ["fs__read_file"]), None);
    }
}
