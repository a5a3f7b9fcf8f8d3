//! Tool arguments that are mirrored in HTTP headers (2026-07-28, basic/transports/streamable-http, "Custom Headers from
//! Tool Parameters").
//!
//! Both ends of the transport read the same annotations, so that what one sends is what the other expects.

use memchr::memmem;
use serde_json::{Map, Number, Value};

use crate::{Json, header};

/// The keyword in a property's schema that names its header.
pub const ANNOTATION: &str = "x-mcp-header";
/// How header names begin, as they are shown; compared without regard to case.
const SHOWN_PREFIX: &str = "Mcp-Param-";
/// Annotations of one tool; a tool with more is treated as one with an invalid annotation.
pub const MAX_HEADERS: usize = 32;
/// The largest integer that may be mirrored.
const MAX_SAFE: i64 = (1 << 53) - 1;

/// Keywords whose value is a schema.
const ONE: [&str; 12] = [
    "items",
    "additionalItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "contentSchema",
];
/// Keywords whose value is a list of schemas; `items` was one before 2020-12.
const LIST: [&str; 5] = ["allOf", "anyOf", "oneOf", "prefixItems", "items"];
/// Keywords whose value holds schemas by names that mean nothing here.
const NAMED: [&str; 5] = ["patternProperties", "dependentSchemas", "dependencies", "$defs", "definitions"];

/// One argument of a tool that a client repeats in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirrored {
    /// The header, as the tool spells it: `Mcp-Param-Region`. Compared without regard to case.
    pub header: String,
    /// The chain of property names that leads to the argument.
    pub path: Vec<String>,
}

/// An object has the same key twice, so that two readers would find two values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ambiguous;

/// What an input schema annotates, in no particular order; nothing for nearly all, after one fast search.
///
/// # Errors
/// Why one of the annotations is invalid, which makes the whole tool invalid for clients over HTTP.
pub fn annotations(schema: &Json) -> Result<Vec<Mirrored>, &'static str> {
    if memmem::find(schema.as_bytes(), ANNOTATION.as_bytes()).is_none() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    if let Value::Object(root) = schema.to_value() {
        walk(&root, Some(&mut Vec::new()), &mut found)?;
    }
    if found.len() > MAX_HEADERS {
        return Err("there are too many");
    }
    let mut names: Vec<String> = found.iter().map(|one| one.header.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    if names.len() == found.len() { Ok(found) } else { Err("a name comes twice") }
}

/// Visits every schema in a schema. `path` is the chain of properties that leads here, `None` once anything else was
/// crossed. References are not followed, and data (`default`, `const`, `enum`, `examples`) is not entered. The depth is
/// bounded by the parser of messages.
fn walk(
    schema: &Map<String, Value>,
    mut path: Option<&mut Vec<String>>,
    found: &mut Vec<Mirrored>,
) -> Result<(), &'static str> {
    if let Some(name) = schema.get(ANNOTATION) {
        let path = path.as_deref().filter(|path| !path.is_empty());
        let path = path.ok_or("it stands where no path of properties leads")?;
        found.push(Mirrored { header: header_of(name, schema.get("type"))?, path: path.clone() });
    }
    for (key, value) in schema {
        match value {
            Value::Object(members) if key == "properties" => {
                for (name, property) in members {
                    let Value::Object(property) = property else { continue };
                    match path.as_deref_mut() {
                        Some(path) => {
                            path.push(name.clone());
                            walk(property, Some(&mut *path), found)?;
                            path.pop();
                        }
                        None => walk(property, None, found)?,
                    }
                }
            }
            Value::Object(inner) if ONE.contains(&key.as_str()) => walk(inner, None, found)?,
            Value::Object(inner) if NAMED.contains(&key.as_str()) => {
                inner.values().filter_map(Value::as_object).try_for_each(|inner| walk(inner, None, found))?;
            }
            Value::Array(list) if LIST.contains(&key.as_str()) => {
                list.iter().filter_map(Value::as_object).try_for_each(|inner| walk(inner, None, found))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// The header of a name: a token (RFC 9110, 5.6.2), on a parameter of one of three types.
fn header_of(name: &Value, kind: Option<&Value>) -> Result<String, &'static str> {
    let name = name.as_str().ok_or("its name is no text")?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("its name is no header name");
    }
    if !matches!(kind.and_then(Value::as_str), Some("string" | "integer" | "boolean")) {
        return Err("its parameter is neither string, integer nor boolean");
    }
    Ok(format!("{SHOWN_PREFIX}{name}"))
}

impl Mirrored {
    /// The argument's value; `None` when it is absent or `null`, which has no header.
    ///
    /// # Errors
    /// When a name on the way to it comes twice.
    pub fn value(&self, arguments: Option<&Json>) -> Result<Option<Json>, Ambiguous> {
        let Some(mut at) = arguments.cloned() else { return Ok(None) };
        for key in &self.path {
            let mut values = at.entries().filter(|entry| entry.has_key(key)).map(|entry| entry.value_range);
            let Some(range) = values.next() else { return Ok(None) };
            if values.next().is_some() {
                return Err(Ambiguous);
            }
            at = Json::from_trusted(at.as_bytes().slice(range));
        }
        Ok(Some(at).filter(|value| value.as_str() != "null"))
    }
}

/// The header's value for an argument: a string as it is, an integer in decimal, a truth value as a word, encoded where
/// that is not safe ("Value Encoding"). `None` for what cannot be mirrored.
pub fn header_value(value: &Json) -> Option<String> {
    let text = match value.to_value() {
        Value::String(text) => text,
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => safe_integer(&number)?.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(if text.is_empty() { text } else { header::encode_name(&text).into_owned() })
}

/// True when a header, decoded, says the same as the argument: numbers as numbers, everything else to the letter.
pub fn agrees(sent: &str, value: &Json) -> bool {
    match value.to_value() {
        Value::String(text) => text == sent,
        Value::Bool(flag) => sent == if flag { "true" } else { "false" },
        Value::Number(_) if sent == value.as_str() => true,
        Value::Number(own) => {
            // The parser would skip white space, which is no part of a number.
            let text = Some(sent).filter(|sent| !sent.contains([' ', '\t', '\n', '\r']));
            let Some(sent) = text.and_then(|text| serde_json::from_str::<Number>(text).ok()) else { return false };
            match (safe_integer(&sent), safe_integer(&own)) {
                (Some(sent), Some(own)) => sent == own,
                // Above the safe range two neighbours can look alike as floating-point numbers.
                (None, None) if !sent.is_f64() || !own.is_f64() => sent == own,
                (None, None) => sent.as_f64() == own.as_f64(),
                _ => false,
            }
        }
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The number as an integer within the safe range; `42.0` is the integer 42.
fn safe_integer(number: &Number) -> Option<i64> {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "bounded to 53 bits")]
    let integral = |number: f64| (number.fract() == 0.0 && number.abs() <= MAX_SAFE as f64).then_some(number as i64);
    let integer = if number.is_f64() { integral(number.as_f64()?)? } else { number.as_i64()? };
    Some(integer).filter(|integer| (-MAX_SAFE..=MAX_SAFE).contains(integer))
}

#[cfg(test)]
mod tests;
