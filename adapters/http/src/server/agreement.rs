//! Headers that mirror the body must agree with it (2026-07-28, streamable-http, "Server Validation").

use std::str::FromStr;

use http::{HeaderMap, StatusCode};
use spanwire_mcp::{
    Era, Json, Method, Params, Request, Revision, header,
    mirror::{self, Ambiguous, Mirrored},
};
use spanwire_model::{EraChoice, Error, ErrorKind};

use super::{
    Caller, Edge,
    gate::excerpt,
    opening::{unsupported, version},
    refusal::Refusal,
};

/// Checks a modern request: version, method, name, the metadata that every request must carry, and the arguments that a
/// tool wants mirrored.
pub(crate) fn check(edge: &Edge, caller: &Caller, request: &Request, params: &Params<'_>) -> Result<(), Refusal> {
    let headers = &caller.headers;
    let declared = params.meta.protocol_version.as_deref();
    known_version(edge.config.era, headers, declared)?;
    let method = required(headers, header::METHOD, "Mcp-Method")?;
    if method != request.method.as_str() {
        return Err(mismatch("Mcp-Method", method, "method", request.method.as_str()));
    }
    if let Some(member) = request.method.name_member() {
        let body = match member {
            "uri" => params.uri.as_deref(),
            "taskId" => params.task_id.as_deref(),
            _ => params.name.as_deref(),
        };
        name(headers, member, body)?;
    }
    if declared.is_none() {
        return Err(missing_meta("io.modelcontextprotocol/protocolVersion"));
    }
    match params.meta.client_capabilities {
        Some(capabilities) if capabilities.get().starts_with('{') => {}
        _ => return Err(missing_meta("io.modelcontextprotocol/clientCapabilities")),
    }
    // Only a tool that annotates its parameters costs more than this look.
    let tool = params.name.as_deref().filter(|_| request.method == Method::ToolsCall);
    let mirrored = tool.and_then(|tool| edge.dispatch.mirrored(&caller.principal, caller.view.as_deref(), tool));
    match mirrored {
        None => Ok(()),
        Some(mirrored) => {
            let arguments = request.params.as_ref().and_then(|params| params.get("arguments"));
            mirrored.iter().try_for_each(|one| argument(headers, one, arguments.as_ref()))
        }
    }
}

/// A mirrored argument and its header say the same, or both are absent (2026-07-28, streamable-http, "Server Behavior
/// for Custom Headers"). Headers that no tool asks for are not looked at. Values are not repeated in errors: they are
/// the caller's own, and may be long.
fn argument(headers: &HeaderMap, one: &Mirrored, arguments: Option<&Json>) -> Result<(), Refusal> {
    let (shown, member) = (&one.header, one.path.join("."));
    let sent = single(headers, shown, shown)?;
    let value = one.value(arguments).map_err(|Ambiguous| {
        header_error(format!("params.arguments.{member} comes more than once, so header {shown} matches nothing"))
    })?;
    match (sent, &value) {
        (None, None) => Ok(()),
        // What no client can mirror, an integer above 53 bits for one, is for the tool to judge.
        (None, Some(value)) if mirror::header_value(value).is_none() => Ok(()),
        (None, Some(_)) => Err(header_error(format!(
            "required header {shown} is missing: the tool wants params.arguments.{member} mirrored in it"
        ))),
        (Some(_), None) => Err(header_error(format!("header {shown} has no params.arguments.{member} to match"))),
        (Some(sent), Some(value)) => match header::decode_name(sent) {
            None => Err(header_error(format!("header {shown} holds no valid Base64"))),
            Some(decoded) if mirror::agrees(&decoded, value) => Ok(()),
            Some(_) => Err(header_error(format!("header {shown} does not match params.arguments.{member}"))),
        },
    }
}

/// The version must be there, be one that is served per request, and be the one in the body.
pub(crate) fn known_version(era: EraChoice, headers: &HeaderMap, declared: Option<&str>) -> Result<(), Refusal> {
    let Some(sent) = version(headers)? else { return Err(missing("MCP-Protocol-Version")) };
    let known = Revision::from_str(sent).ok();
    let Some(known) = known else { return Err(unsupported(era, sent)) };
    if let Some(declared) = declared.filter(|declared| *declared != sent) {
        let member = "params._meta[\"io.modelcontextprotocol/protocolVersion\"]";
        return Err(mismatch("MCP-Protocol-Version", sent, member, declared));
    }
    if known.era() == Era::Legacy { Err(unsupported(era, sent)) } else { Ok(()) }
}

fn name(headers: &HeaderMap, member: &str, body: Option<&str>) -> Result<(), Refusal> {
    let sent = required(headers, header::NAME, "Mcp-Name")?;
    let Some(decoded) = header::decode_name(sent) else {
        return Err(header_error(format!("header Mcp-Name \"{}\" holds no valid Base64", excerpt(sent))));
    };
    match body {
        Some(body) if body == decoded => Ok(()),
        Some(body) => Err(mismatch("Mcp-Name", &decoded, &format!("params.{member}"), body)),
        None => Err(header_error(format!("header Mcp-Name \"{}\" has no params.{member} to match", excerpt(&decoded)))),
    }
}

/// The one value of a header; `None` when it is absent, an error when it comes twice or holds invalid characters.
pub(crate) fn single<'a>(headers: &'a HeaderMap, key: &str, shown: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(key).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(header_error(format!("header {shown} comes more than once")));
    }
    match value.to_str() {
        // White space around a value is no part of it (RFC 9110, 5.5).
        Ok(text) => Ok(Some(text.trim_matches([' ', '\t']))),
        Err(_) => Err(header_error(format!("header {shown} holds invalid characters"))),
    }
}

fn required<'a>(headers: &'a HeaderMap, key: &str, shown: &str) -> Result<&'a str, Refusal> {
    single(headers, key, shown)?.ok_or_else(|| missing(shown))
}

fn missing(shown: &str) -> Refusal {
    header_error(format!("required header {shown} is missing"))
}

fn mismatch(shown: &str, sent: &str, member: &str, body: &str) -> Refusal {
    let (sent, body) = (excerpt(sent), excerpt(body));
    header_error(format!("header {shown} \"{sent}\" does not match {member} \"{body}\""))
}

fn header_error(text: String) -> Refusal {
    Refusal::of(Error::new(ErrorKind::HeaderMismatch, text))
}

fn missing_meta(key: &str) -> Refusal {
    let text = format!("params._meta[\"{key}\"] is missing");
    Refusal::new(StatusCode::BAD_REQUEST, Error::new(ErrorKind::InvalidParams, text))
}
