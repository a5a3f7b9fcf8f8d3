//! Names as clients see them (broker/ARCHITECTURE.md).

use std::borrow::Cow;

use spanwire_model::{ListKind, ServerId};

/// How the URIs of MCP Apps begin (SEP-1865): hosts take no other resource for one.
const UI: &str = "ui://";

/// The name of an entry for policy: `{server}__{tool}` or `{server}+{uri}`. Both can be split again, because a server id holds
/// neither `_` nor `+`.
pub fn canonical(kind: ListKind, server: &ServerId, own_name: &str) -> String {
    match kind {
        ListKind::Tools | ListKind::Prompts => format!("{server}__{own_name}"),
        ListKind::Resources | ListKind::Templates => format!("{server}+{own_name}"),
    }
}

/// The name of an entry in a federated view: the canonical one, but for the resources of MCP Apps, where the server stands
/// behind the scheme, so that hosts still know them (broker/decisions/0017).
pub fn exposed(kind: ListKind, server: &ServerId, own_name: &str) -> String {
    match (kind, own_name.strip_prefix(UI)) {
        (ListKind::Resources | ListKind::Templates, Some(rest)) => format!("{UI}{server}+{rest}"),
        _ => canonical(kind, server, own_name),
    }
}

/// True when a server's own name reads like one that carries a server.
pub fn is_prefixed(own_name: &str) -> bool {
    own_name.split_once("__").is_some_and(|(server, _)| server.parse::<ServerId>().is_ok())
}

/// Splits an exposed resource URI into the server and its own URI. The canonical form is understood for MCP Apps too: a
/// template without a scheme of its own may be expanded to it.
pub fn split_resource(uri: &str) -> Option<(ServerId, Cow<'_, str>)> {
    let (server, own) = uri.strip_prefix(UI).unwrap_or(uri).split_once('+')?;
    let server = server.parse().ok()?;
    if uri.starts_with(UI) {
        return Some((server, Cow::Owned(format!("{UI}{own}"))));
    }
    (!own.is_empty()).then_some((server, Cow::Borrowed(own)))
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
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn resources_split_at_the_first_plus() {
        let check = |uri: &str, expected: Option<(&str, &str)>| {
            let got = split_resource(uri).map(|(server, own)| (server.to_string(), own));
            assert_eq!(got.as_ref().map(|(server, own)| (server.as_str(), &**own)), expected, "{uri}");
        };
        check("fs+file:///a+b", Some(("fs", "file:///a+b")));
        check("git-1+git+ssh://x", Some(("git-1", "git+ssh://x")));
        check("file:///a", None);
        check("fs+", None);
        check("FS+x:", None);
        check("ui://charts+bar/x+y", Some(("charts", "ui://bar/x+y")));
        check("ui://bar/x+y", None);
        check("ui://bar", None);
        check("charts+ui://bar", Some(("charts", "ui://bar")));
    }

    #[test]
    fn resources_of_apps_keep_their_scheme() {
        let server: ServerId = "charts".parse().unwrap();
        for own in [
            "ui://bar",
            "ui://bar/x?y#z",
            "ui:///x",
            "ui://a+b",
            "ui://",
            "ui://charts+bar",
            "ui:opaque",
            "file:///ui://x",
        ] {
            let uri = exposed(ListKind::Resources, &server, own);
            assert_eq!(uri.starts_with("ui://"), own.starts_with("ui://"), "{own}");
            let (of, back) = split_resource(&uri).unwrap();
            assert_eq!((of, &*back), (server.clone(), own));
        }
        assert_eq!(exposed(ListKind::Templates, &server, "ui://{+path}"), "ui://charts+{+path}");
        assert_eq!(exposed(ListKind::Tools, &server, "ui"), "charts__ui");
        assert_eq!(canonical(ListKind::Resources, &server, "ui://bar"), "charts+ui://bar");
    }

    #[test]
    fn suggestions_are_near() {
        assert_eq!(suggest("fs__reed_file", ["fs__read_file", "git__log"]), Some("fs__read_file"));
        assert_eq!(suggest("zzz", ["fs__read_file"]), None);
    }
}
