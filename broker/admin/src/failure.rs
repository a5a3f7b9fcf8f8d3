//! An error of the broker as the status of a gRPC method.

use spanwire_model::{Error, ErrorKind};
use spanwire_rpc::{ERROR_DATA_METADATA, ERROR_KIND_METADATA};
use tonic::{Code, metadata::MetadataValue};

/// Longest message of a status in bytes: it travels in a header.
const MAX_MESSAGE: usize = 2048;
/// Longest data of a status in bytes; it is left out when it is longer.
const MAX_DATA: usize = 4096;

/// The status of a failed method. The private text goes to the log and nowhere else.
pub(crate) fn status(error: &Error) -> tonic::Status {
    if error.private.is_some() || error.kind == ErrorKind::Internal {
        let private = error.private.as_deref().unwrap_or_default();
        tracing::warn!(kind = error.kind_name(), private, "control request failed: {error}");
    }
    let mut status = build(Code::from_i32(error.grpc_code()), &error.public, error.kind_name());
    let data = error.data.as_ref().map(|data| ascii(data.as_str())).filter(|data| data.len() <= MAX_DATA);
    if let Some(data) = data.and_then(|data| data.parse().ok()) {
        status.metadata_mut().insert(ERROR_DATA_METADATA, data);
    }
    status
}

/// The same JSON in ASCII, as metadata must be: what is beyond it can only stand in strings.
fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => out.push(c),
            // White space between tokens: no string holds it as it is.
            '\n' | '\r' | '\t' => out.push(' '),
            _ => {
                let mut units = [0; 2];
                out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
    }
    out
}

/// The status for a thing that does not exist. MCP has no such kind of error, so the broker's own table has none either.
pub(crate) fn not_found(message: &str) -> tonic::Status {
    build(Code::NotFound, message, "not_found")
}

/// How every stream ends when the node shuts down.
pub(crate) fn shutting_down() -> tonic::Status {
    status(&Error::new(ErrorKind::Unavailable, "the node is shutting down"))
}

fn build(code: Code, message: &str, kind: &'static str) -> tonic::Status {
    let end = message.floor_char_boundary(MAX_MESSAGE);
    let mut status = tonic::Status::new(code, &message[..end]);
    status.metadata_mut().insert(ERROR_KIND_METADATA, MetadataValue::from_static(kind));
    status
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use spanwire_mcp::Json;

    use super::*;

    #[test]
    fn every_kind_has_a_code_and_a_name() {
        let check = |kind: ErrorKind, code: Code, name: &str| {
            let status = status(&Error::new(kind, "what happened").with_private("secret"));
            assert_eq!((status.code(), status.message()), (code, "what happened"));
            assert_eq!(status.metadata().get(ERROR_KIND_METADATA).unwrap(), name);
        };
        check(ErrorKind::Malformed, Code::InvalidArgument, "malformed");
        check(ErrorKind::InvalidRequest, Code::InvalidArgument, "invalid_request");
        check(ErrorKind::MethodNotFound, Code::Unimplemented, "method_not_found");
        check(ErrorKind::InvalidParams, Code::InvalidArgument, "invalid_params");
        check(ErrorKind::HeaderMismatch, Code::InvalidArgument, "header_mismatch");
        check(ErrorKind::UnsupportedVersion, Code::InvalidArgument, "unsupported_version");
        check(ErrorKind::MissingCapability, Code::FailedPrecondition, "missing_capability");
        check(ErrorKind::Unauthenticated, Code::Unauthenticated, "unauthenticated");
        check(ErrorKind::Denied, Code::PermissionDenied, "denied");
        check(ErrorKind::TooLarge, Code::InvalidArgument, "too_large");
        check(ErrorKind::Overloaded, Code::ResourceExhausted, "overloaded");
        check(ErrorKind::Unavailable, Code::Unavailable, "unavailable");
        check(ErrorKind::DeadlineExceeded, Code::DeadlineExceeded, "deadline_exceeded");
        check(ErrorKind::Cancelled, Code::Cancelled, "cancelled");
        check(ErrorKind::StreamLost, Code::Aborted, "stream_lost");
        check(ErrorKind::SessionGone, Code::NotFound, "session_gone");
        check(ErrorKind::Server, Code::Internal, "server_error");
        check(ErrorKind::BadServer, Code::Internal, "bad_server");
        check(ErrorKind::Conflict, Code::FailedPrecondition, "conflict");
        check(ErrorKind::QuotaExceeded, Code::ResourceExhausted, "quota_exceeded");
        check(ErrorKind::Internal, Code::Internal, "internal");
    }

    #[test]
    fn what_helps_to_do_better_comes_along() {
        let check = |data: &str, expected: Option<&str>| {
            let error = Error::new(ErrorKind::Conflict, "x").with_data(Json::from_trusted(data.to_owned()));
            let status = status(&error);
            assert_eq!(status.metadata().get(ERROR_DATA_METADATA).map(|value| value.to_str().unwrap()), expected);
        };
        check(r#"{"version":7}"#, Some(r#"{"version":7}"#));
        check("{\n\"key\": \"ä😀\"}", Some(r#"{ "key": "\u00e4\ud83d\ude00"}"#));
        check(&format!("\"{}\"", "x".repeat(MAX_DATA)), None);
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let status = not_found(&"ä".repeat(MAX_MESSAGE));
        assert_eq!(status.message().len(), MAX_MESSAGE);
        assert_eq!(not_found(&format!("x{}", "ä".repeat(MAX_MESSAGE))).message().len(), MAX_MESSAGE - 1);
    }
}
