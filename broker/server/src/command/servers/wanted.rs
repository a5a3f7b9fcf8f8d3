//! Servers that are to run somewhere, whether they do or not.

use serde_json::{Value, json};
use spanwire_rpc::v1::{Placement, Source, WantedServer};

use crate::output::{Cell, Tone};

/// Who says that a server is to run, in one word.
pub(super) fn source(source: Source) -> &'static str {
    match source {
        Source::Unspecified => "",
        Source::Config => "config",
        Source::Registry => "registry",
        Source::Builtin => "builtin",
    }
}

/// On which nodes it may run, in one word.
pub(super) fn placement(placement: Placement) -> &'static str {
    match placement {
        Placement::Unspecified => "",
        Placement::Here => "here",
        Placement::Any => "any",
    }
}

/// A server that no node shows, as a row of the table.
pub(super) fn row(wanted: &WantedServer) -> Vec<Cell> {
    let (node, place, detail) = match wanted.placement() {
        Placement::Any => ("-", format!("any 0/{}", wanted.replicas), "no node runs it"),
        Placement::Here | Placement::Unspecified => {
            (wanted.home.as_str(), "here".to_owned(), "its node is not there, or does not run it yet")
        }
    };
    let detail = if wanted.problem.is_empty() { detail } else { &wanted.problem };
    let none = || Cell::toned("-", Tone::Dim);
    vec![
        (&wanted.id).into(),
        Cell::toned("down", Tone::Bad),
        node.into(),
        source(wanted.source()).into(),
        place.into(),
        none(),
        none(),
        none(),
        none(),
        none(),
        none(),
        detail.into(),
    ]
}

/// What the table does not show of a server: that too few nodes run it and why not this one, and that a configuration file goes before
/// the registry. One that has no row of its own says the why there.
pub(super) fn notes(wanted: &WantedServer, has_row: bool) -> Vec<String> {
    let id = &wanted.id;
    let mut notes = Vec::new();
    if has_row && wanted.running == 0 && !wanted.problem.is_empty() {
        notes.push(format!("{id}: {}", wanted.problem));
        return notes;
    }
    if wanted.placement() == Placement::Any && wanted.running < wanted.replicas {
        notes.push(format!("{id}: {} of {} replicas", wanted.running, wanted.replicas));
    }
    if !wanted.shadowed_on.is_empty() {
        let nodes = wanted.shadowed_on.join(", ");
        notes.push(format!("{id}: the configuration of {nodes} goes before the registry there"));
    }
    notes
}

/// As JSON, in the names of the control API.
pub(super) fn to_json(wanted: &WantedServer) -> Value {
    json!({
        "id": wanted.id,
        "source": source(wanted.source()),
        "placement": placement(wanted.placement()),
        "replicas": wanted.replicas,
        "running": wanted.running,
        "home": wanted.home,
        "by": wanted.by,
        "version": wanted.version,
        "shadowed_on": wanted.shadowed_on,
        "problem": wanted.problem,
    })
}

#[cfg(test)]
mod tests;
