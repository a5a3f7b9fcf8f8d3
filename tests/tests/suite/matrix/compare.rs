//! Exact comparison, with the first difference as the error.

use anyhow::{Result, bail};
use serde_json::Value;

/// Longest part of a value that is shown.
const SHOWN: usize = 400;

/// Fails with the first place where two documents differ.
pub(super) fn same(what: &str, expected: &Value, got: &Value) -> Result<()> {
    match difference(expected, got, "") {
        None => Ok(()),
        Some(place) => bail!("{what}: {place}\n      all of it: {}", shown(Some(got))),
    }
}

fn difference(expected: &Value, got: &Value, path: &str) -> Option<String> {
    match (expected, got) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.into_iter().find_map(|key| match (a.get(key), b.get(key)) {
                (Some(a), Some(b)) => difference(a, b, &format!("{path}.{key}")),
                (a, b) => Some(told(&format!("{path}.{key}"), a, b)),
            })
        }
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len())).find_map(|at| {
            let path = format!("{path}[{at}]");
            match (a.get(at), b.get(at)) {
                (Some(a), Some(b)) => difference(a, b, &path),
                (a, b) => Some(told(&path, a, b)),
            }
        }),
        (a, b) if a == b => None,
        (a, b) => Some(told(path, Some(a), Some(b))),
    }
}

fn told(path: &str, expected: Option<&Value>, got: Option<&Value>) -> String {
    format!("at {} expected {} but got {}", if path.is_empty() { "the top" } else { path }, shown(expected), shown(got))
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string().chars().take(SHOWN).collect())
}

/// True for a W3C `traceparent`.
pub(super) fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str, length| part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    matches!(parts[..], ["00", trace, span, flags] if hex(trace, 32) && hex(span, 16) && hex(flags, 2))
}
