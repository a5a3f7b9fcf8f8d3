//! JSON-RPC error codes that MCP defines (2026-07-28, basic/index, "Error Codes").

/// The body is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// The body is JSON but not a JSON-RPC 2.0 message that this revision allows.
pub const INVALID_REQUEST: i64 = -32600;
/// The method is not implemented.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The params are not what the method needs; also an unknown tool, prompt or resource.
pub const INVALID_PARAMS: i64 = -32602;
/// The receiver failed.
pub const INTERNAL_ERROR: i64 = -32603;
/// Resource not found before 2026-07-28; read from old servers, never sent.
pub const LEGACY_RESOURCE_NOT_FOUND: i64 = -32002;
/// HTTP headers and body disagree, or a required header is missing.
pub const HEADER_MISMATCH: i64 = -32020;
/// The request needs a capability that the client did not declare.
pub const MISSING_CLIENT_CAPABILITY: i64 = -32021;
/// The protocol version is not one that the receiver speaks; `data.supported` lists those that it does.
pub const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32022;

/// True for the codes that only a server of the 2026-07-28 era sends: seeing one proves the era of a peer.
pub fn is_modern(code: i64) -> bool {
    matches!(code, HEADER_MISMATCH | MISSING_CLIENT_CAPABILITY | UNSUPPORTED_PROTOCOL_VERSION)
}

/// True when the code blames the caller, so that a server's span stays unset (semantic conventions for MCP).
pub fn is_caller_fault(code: i64) -> bool {
    matches!(code, PARSE_ERROR | INVALID_REQUEST | METHOD_NOT_FOUND | INVALID_PARAMS | LEGACY_RESOURCE_NOT_FOUND)
}
