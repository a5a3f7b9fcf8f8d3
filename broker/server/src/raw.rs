//! JSON of others, read and shown as it was written: every digit, and the order of its members.
//!
//! A [`serde_json::Value`] would round what is beyond 53 bits, and write `1.0` and `1e2` in another way.

use std::io::Read as _;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{failure::Failure, output::escaped};

/// Most that is read from a file or from stdin: more does not fit into a message.
const MAX_BYTES: u64 = spanwire_rpc::MAX_MESSAGE_BYTES as u64;

/// One JSON value from a file, or from stdin for `-`, without the space around it.
pub(crate) fn read(path: &str) -> Result<Bytes, Failure> {
    let (text, from) = match path {
        "-" => (bounded(std::io::stdin().lock(), "stdin")?, "stdin"),
        path => {
            let file = std::fs::File::open(path).map_err(|error| Failure::failed(format!("{path}: {error}")))?;
            (bounded(file, path)?, path)
        }
    };
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(value) => Ok(Bytes::from(value.get().to_owned())),
        Err(error) => Err(Failure::failed(format!("{from} is not JSON: {error}"))),
    }
}

fn bounded(source: impl std::io::Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| Failure::failed(format!("{name}: {error}")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Failure::failed(format!("{name} has more than {MAX_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| Failure::failed(format!("{name} is not JSON: it is not UTF-8")))
}

/// A value for people, with its line breaks. It takes over no terminal.
pub(crate) fn text(json: &Bytes) -> Result<String, Failure> {
    let text = std::str::from_utf8(json).map_err(|error| Failure::failed(format!("the value is no text: {error}")))?;
    Ok(escaped(text))
}

/// A value as a part of a document.
pub(crate) fn part(json: &Bytes) -> Result<Box<RawValue>, Failure> {
    // A document may have to stay on one line; line breaks stand between tokens only.
    let text = text(json)?.replace('\n', " ");
    RawValue::from_string(text).map_err(|error| Failure::failed(format!("the value cannot be read: {error}")))
}

/// The same of a field that may be empty: null when it is, or cannot be read.
pub(crate) fn part_or_null(json: &Bytes) -> Box<RawValue> {
    part(json).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// A value for people, indented: every token as it was written.
pub(crate) fn pretty(value: &RawValue) -> String {
    let mut out = String::with_capacity(value.get().len());
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for c in value.get().chars() {
        if in_string {
            out.push(c);
            in_string = is_escaped || c != '"';
            is_escaped = !is_escaped && c == '\\';
            continue;
        }
        let is_first = out.ends_with(['{', '[']);
        match c {
            ' ' | '\t' | '\r' | '\n' => continue,
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !is_first {
                    line(&mut out, depth);
                }
            }
            _ if is_first => line(&mut out, depth),
            _ => {}
        }
        out.push(c);
        match c {
            '"' => in_string = true,
            '{' | '[' => depth += 1,
            ':' => out.push(' '),
            ',' => line(&mut out, depth),
            _ => {}
        }
    }
    escaped(&out)
}

#[cfg(test)]
mod tests;
