//! Patches of values that keep what they do not touch byte for byte: numbers of any size, order, spelling.
//!
//! Written by hand, since the library decodes all of a value: a number that fits no `f64` would come back as another one. Also, what a
//! machine computes must stay the same for ever, and a library's way of writing numbers need not.

mod equal;
mod merge;
mod steps;
mod tree;

pub(crate) use merge::merge;
use spanwire_mcp::{Entry, Json};
pub(crate) use steps::{MAX_STEPS, Misfit, is_pointer, json_patch};

/// Deepest nesting of a value. Room for what wraps it on its way, and for every recursion here.
pub(crate) const MAX_DEPTH: usize = 48;

/// True when the text nests deeper than [`MAX_DEPTH`]. Without recursion.
pub(crate) fn is_too_deep(json: &Json) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in json.as_bytes().iter() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b'}' | b']' if !in_text => depth -= 1,
            _ => {}
        }
    }
    false
}

/// The name of a member. Half of a surrogate pair is JSON but no text: such a name is only equal to itself, as it is written.
fn name_of(entry: &Entry<'_>) -> String {
    serde_json::from_slice(entry.raw_key).unwrap_or_else(|_| String::from_utf8_lossy(entry.raw_key).into_owned())
}

/// The value of a member, without copying.
fn value_of(object: &Json, entry: &Entry<'_>) -> Json {
    Json::from_trusted(object.as_bytes().slice(entry.value_range.clone()))
}

#[cfg(test)]
mod tests;
