//! Tool arguments that a server wants mirrored in headers (2026-07-28, server/tools, "x-mcp-header").
//!
//! The annotations are learned from the results of `tools/list` that pass through a connection: whoever calls a tool
//! has listed it before. A tool with an invalid annotation is taken out of the list, as the specification demands.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use serde_json::Value;
use spanwire_mcp::{Json, header as mcp};

const ANNOTATION: &str = "x-mcp-header";
/// Tools whose annotations are kept for one server.
const MAX_TOOLS: usize = 4096;
/// Annotations of one tool.
const MAX_HEADERS: usize = 32;
/// The largest integer that may be mirrored.
const MAX_SAFE: i64 = (1 << 53) - 1;

/// A header, and the path to the argument that it mirrors.
type Mirrored = Vec<(HeaderName, Vec<String>)>;

/// The annotations of one server's tools.
#[derive(Debug, Default)]
pub(super) struct ParamHeaders {
    tools: Mutex<HashMap<String, Arc<Mirrored>>>,
}

impl ParamHeaders {
    /// Learns from one page of a list; returns it without the tools that must not be used.
    pub(super) fn learn(&self, server: &str, page: Json) -> Json {
        let annotated = memmem::find(page.as_bytes(), ANNOTATION.as_bytes()).is_some();
        let mut known = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if !annotated && known.is_empty() {
            return page;
        }
        let Some(tools) = page.get("tools") else { return page };
        let (mut kept, mut dropped) = (Vec::new(), false);
        for tool in tools.elements() {
            let Some(name) = tool.get("name").and_then(|name| name.read::<String>().ok()) else {
                kept.push(tool);
                continue;
            };
            known.remove(&name);
            let schema = tool
                .get("inputSchema")
                .filter(|schema| memmem::find(schema.as_bytes(), ANNOTATION.as_bytes()).is_some());
            match schema.map(|schema| annotations(&schema.to_value())) {
                Some(Err(reason)) => {
                    tracing::warn!(server, tool = %name, reason, "a tool is left out: its header annotation is invalid");
                    dropped = true;
                    continue;
                }
                Some(Ok(mirrored)) if !mirrored.is_empty() && known.len() < MAX_TOOLS => {
                    known.insert(name, Arc::new(mirrored));
                }
                Some(Ok(_)) | None => {}
            }
            kept.push(tool);
        }
        if !dropped {
            return page;
        }
        let kept: Vec<&str> = kept.iter().map(Json::as_str).collect();
        page.with(&[("tools", format!("[{}]", kept.join(",")).as_bytes())], &[])
    }

    /// Adds the headers for a call of a tool.
    pub(super) fn mirror(&self, headers: &mut HeaderMap, params: &Json) {
        let name = params.get("name").and_then(|name| name.read::<String>().ok()).unwrap_or_default();
        let mirrored = self.tools.lock().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let Some(arguments) = mirrored.as_ref().and_then(|_| params.get("arguments")) else { return };
        for (header, path) in mirrored.iter().flat_map(|mirrored| mirrored.iter()) {
            let value = path.iter().try_fold(arguments.clone(), |at, key| at.get(key));
            if let Some(value) = value.and_then(|value| header_value(&value)) {
                headers.insert(header.clone(), value);
            }
        }
    }
}

/// A string as it is, a number or a truth value as text; `null` and everything else not at all.
fn header_value(value: &Json) -> Option<HeaderValue> {
    let text = match value.to_value() {
        Value::String(text) => text,
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => {
            let integer = number.as_i64().or_else(|| integral(number.as_f64()?))?;
            Some(integer).filter(|integer| (-MAX_SAFE..=MAX_SAFE).contains(integer))?.to_string()
        }
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    if text.is_empty() {
        return Some(HeaderValue::from_static(""));
    }
    HeaderValue::from_str(&mcp::encode_name(&text)).ok()
}

/// `42.0` is the integer 42.
fn integral(number: f64) -> Option<i64> {
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "bounded to 53 bits")]
    (number.fract() == 0.0 && number.abs() <= MAX_SAFE as f64).then_some(number as i64)
}

/// The annotations of a schema, or why one of them is invalid.
fn annotations(schema: &Value) -> Result<Mirrored, &'static str> {
    let mut found = Vec::new();
    properties(schema, &mut Vec::new(), &mut found)?;
    if found.len() != count(schema) {
        return Err("it stands where no path of properties leads");
    }
    if found.len() > MAX_HEADERS {
        return Err("there are too many");
    }
    let mut names: Vec<&HeaderName> = found.iter().map(|(name, _)| name).collect();
    names.sort_by_key(|name| name.as_str());
    names.dedup();
    if names.len() == found.len() { Ok(found) } else { Err("a name comes twice") }
}

/// Walks along `properties` only. The depth is bounded by the parser of messages.
fn properties(schema: &Value, path: &mut Vec<String>, found: &mut Mirrored) -> Result<(), &'static str> {
    let Some(members) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    for (key, property) in members {
        path.push(key.clone());
        if let Some(name) = property.get(ANNOTATION) {
            let name = name.as_str().filter(|name| !name.is_empty()).ok_or("its name is no text")?;
            let primitive =
                matches!(property.get("type").and_then(Value::as_str), Some("string" | "integer" | "boolean"));
            if !primitive {
                return Err("its parameter is neither string, integer nor boolean");
            }
            let header = format!("{}{name}", mcp::PARAM_PREFIX);
            found.push((
                HeaderName::from_bytes(header.as_bytes()).map_err(|_| "its name is no header name")?,
                path.clone(),
            ));
        }
        properties(property, path, found)?;
        path.pop();
    }
    Ok(())
}

/// How many annotations there are anywhere in a schema. A property that is itself named so counts as none.
fn count(schema: &Value) -> usize {
    match schema {
        Value::Object(members) => {
            let own = usize::from(members.get(ANNOTATION).is_some_and(|value| !value.is_object()));
            own + members.values().map(count).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(schema: &str) -> Json {
        let text = format!(r#"{{"tools":[{{"name":"a","inputSchema":{schema}}},{{"name":"b","inputSchema":{{}}}}]}}"#);
        Json::from_trusted(text)
    }

    #[test]
    fn annotated_arguments_are_mirrored() {
        let schema = r#"{"properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "size":{"type":"integer","x-mcp-header":"Size"},
            "where":{"type":"object","properties":{"dry":{"type":"boolean","x-mcp-header":"Dry"}}}}}"#;
        let params = ParamHeaders::default();
        assert_eq!(params.learn("s", page(schema)), page(schema));
        let check = |arguments: &str, expected: &[(&str, &str)]| {
            let mut headers = HeaderMap::new();
            params.mirror(&mut headers, &Json::from_trusted(format!(r#"{{"name":"a","arguments":{arguments}}}"#)));
            let mut seen: Vec<_> = headers.iter().map(|(k, v)| (k.as_str(), v.to_str().unwrap_or("?"))).collect();
            seen.sort_unstable();
            assert_eq!(seen, expected, "{arguments}");
        };
        check(r#"{"region":"us-west1","size":42.0}"#, &[("mcp-param-region", "us-west1"), ("mcp-param-size", "42")]);
        check(r#"{"region":null,"where":{"dry":true}}"#, &[("mcp-param-dry", "true")]);
        check(r#"{"region":" padded "}"#, &[("mcp-param-region", "=?base64?IHBhZGRlZCA=?=")]);
        check(r#"{"size":9007199254740993}"#, &[]);
        check("{}", &[]);
        // The server has changed its mind.
        params.learn("s", page("{}"));
        check(r#"{"region":"us-west1"}"#, &[]);
    }

    #[test]
    fn a_tool_with_an_invalid_annotation_is_left_out() {
        let check = |schema: &str, kept: usize| {
            let listed = ParamHeaders::default().learn("s", page(schema));
            assert_eq!(listed.get("tools").map(|tools| tools.elements().count()), Some(kept), "{schema}");
        };
        check(r#"{"properties":{"x":{"type":"string","x-mcp-header":"Good"}}}"#, 2);
        check(r#"{"properties":{"x":{"type":"number","x-mcp-header":"Bad"}}}"#, 1);
        check(r#"{"properties":{"x":{"type":"string","x-mcp-header":""}}}"#, 1);
        check(r#"{"properties":{"x":{"type":"string","x-mcp-header":"a b"}}}"#, 1);
        check(r#"{"properties":{"x":{"type":"array","items":{"type":"string","x-mcp-header":"Bad"}}}}"#, 1);
        let twice = r#"{"type":"string","x-mcp-header":"Same"}"#;
        check(&format!(r#"{{"properties":{{"x":{twice},"y":{}}}}}"#, twice.to_owned().replace("Same", "same")), 1);
        // A property that happens to have that name is no annotation.
        check(r#"{"properties":{"x-mcp-header":{"type":"string"}}}"#, 2);
    }
}
