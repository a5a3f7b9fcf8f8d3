//! Keys of `_meta` (2026-07-28, basic/index, "_meta").

/// Protocol version of one request.
pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
/// Name and version of the client.
pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
/// What the client can do for this request.
pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// Least severe log message that the client wants for this request.
pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Name and version of the server that answered.
pub const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// The `subscriptions/listen` request that a notification belongs to.
pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
/// The token that progress notifications of this request carry.
pub const PROGRESS_TOKEN: &str = "progressToken";
/// W3C trace context (SEP-414): unprefixed by decision.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace state.
pub const TRACESTATE: &str = "tracestate";
/// W3C baggage.
pub const BAGGAGE: &str = "baggage";
/// The task that a message of 2025-11-25 belongs to: an object with `taskId`.
pub const RELATED_TASK: &str = "io.modelcontextprotocol/related-task";
/// In an input response between nodes and eras: the JSON-RPC error that the client answered with, which 2026-07-28 has no form for.
pub const INPUT_ERROR: &str = "io.spanwire/error";
