//! Tool arguments that a server wants mirrored in headers (2026-07-28, server/tools, "x-mcp-header").
//!
//! The annotations are learned from the results of `tools/list` that pass through a connection: whoever calls a tool
//! has listed it before. A tool with an invalid annotation is taken out of the list, as the specification demands.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use spanwire_mcp::{
    Json,
    mirror::{self, Mirrored},
};

/// Tools whose annotations are kept for one server.
const MAX_TOOLS: usize = 4096;

/// The annotations of one server's tools.
#[derive(Debug, Default)]
pub(crate) struct ParamHeaders {
    tools: Mutex<HashMap<String, Arc<[Mirrored]>>>,
}

impl ParamHeaders {
    /// Learns from one page of a list; returns it without the tools that must not be used.
    pub(super) fn learn(&self, server: &str, page: Json) -> Json {
        let invalid = self.note(&page);
        if invalid.is_empty() {
            return page;
        }
        let is_valid = |tool: &Json| name_of(tool).is_none_or(|name| !invalid.iter().any(|(bad, _)| *bad == name));
        for (tool, reason) in &invalid {
            tracing::warn!(server, tool, reason, "a tool is left out: its header annotation is invalid");
        }
        let Some(tools) = page.get("tools") else { return page };
        let kept: Vec<Json> = tools.elements().filter(is_valid).collect();
        let kept: Vec<&str> = kept.iter().map(Json::as_str).collect();
        page.with(&[("tools", format!("[{}]", kept.join(",")).as_bytes())], &[])
    }

    /// Notes the annotations on one page of a list; the tools whose annotations are invalid, and why.
    pub(crate) fn note(&self, page: &Json) -> Vec<(String, &'static str)> {
        let mut known = self.known();
        if known.is_empty() && memmem::find(page.as_bytes(), mirror::ANNOTATION.as_bytes()).is_none() {
            return Vec::new();
        }
        let mut invalid = Vec::new();
        let tools = page.get("tools");
        for tool in tools.iter().flat_map(Json::elements) {
            let Some(name) = name_of(&tool) else { continue };
            known.remove(&name);
            match tool.get("inputSchema").as_ref().map_or(Ok(Vec::new()), mirror::annotations) {
                Err(reason) => invalid.push((name, reason)),
                Ok(mirrored) if !mirrored.is_empty() && known.len() < MAX_TOOLS => {
                    known.insert(name, mirrored.into());
                }
                Ok(_) => {}
            }
        }
        invalid
    }

    /// Adds the headers for a call of a tool.
    pub(crate) fn mirror(&self, headers: &mut HeaderMap, params: &Json) {
        if self.known().is_empty() {
            return;
        }
        let name = name_of(params).unwrap_or_default();
        let Some(mirrored) = self.known().get(&name).cloned() else { return };
        let arguments = params.get("arguments");
        for one in mirrored.iter() {
            // An argument that comes twice has no one value: the server says so.
            let value = one.value(arguments.as_ref()).ok().flatten().as_ref().and_then(mirror::header_value);
            let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
            if let (Ok(name), Some(value)) = (HeaderName::from_bytes(one.header.as_bytes()), value) {
                headers.insert(name, value);
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Arc<[Mirrored]>>> {
        self.tools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(object: &Json) -> Option<String> {
    object.get("name")?.read().ok()
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
        check(r#"{"region":""}"#, &[("mcp-param-region", "")]);
        check(r#"{"region":"a","region":"b"}"#, &[]);
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
    }
}
