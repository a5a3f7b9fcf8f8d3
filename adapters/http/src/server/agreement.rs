//! Headers that mirror the body must agree with it (2026-07-28, streamable-http, "Server Validation").

use std::str::FromStr;

use http::{HeaderMap, StatusCode};
use spanwire_mcp::{Era, Params, Request, Revision, header};
use spanwire_model::{EraChoice, Error, ErrorKind};

use super::{
    gate::excerpt,
    opening::{unsupported, version},
    refusal::Refusal,
};

/// Checks a modern request: version, method, name, and the metadata that every request must carry.
pub(crate) fn check(
    era: EraChoice,
    headers: &HeaderMap,
    request: &Request,
    params: &Params<'_>,
) -> Result<(), Refusal> {
    let declared = params.meta.protocol_version.as_deref();
    known_version(era, headers, declared)?;
    let method = required(headers, header::METHOD, "Mcp-Method")?;
    if method != request.method.as_str() {
        return Err(mismatch("Mcp-Method", method, "method", request.method.as_str()));
    }
    if let Some(member) = request.method.name_member() {
        let body = if member == "uri" { params.uri.as_deref() } else { params.name.as_deref() };
        name(headers, member, body)?;
    }
    if declared.is_none() {
        return Err(missing_meta("io.modelcontextprotocol/protocolVersion"));
    }
    match params.meta.client_capabilities {
        Some(capabilities) if capabilities.get().starts_with('{') => Ok(()),
        _ => Err(missing_meta("io.modelcontextprotocol/clientCapabilities")),
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
        Ok(text) => Ok(Some(text)),
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
