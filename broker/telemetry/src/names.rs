//! Every attribute key, span name and metric name, once. A constant is the key in upper case with `_` for `.`.
//!
//! Sources: semantic conventions for generative AI, `docs/gen-ai/mcp.md` ("MCP"), `gen-ai-spans.md` ("GenAI"),
//! main after v1.44; general semantic conventions v1.43, `docs/rpc/rpc-spans.md` ("RPC"),
//! `docs/messaging/messaging-spans.md` ("Messaging"), `docs/general/attributes.md` ("General").

use std::borrow::Cow;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $key:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $key;)*

        /// Every attribute key and metric name of this module.
        #[cfg(test)]
        const ALL: &[(&str, &str)] = &[$((stringify!($name), $key)),*];
    };
}

names! {
    // --- Propagation: W3C Trace Context and Baggage, in HTTP headers, bus headers and `params._meta` (SEP-414).
    /// The position in the trace.
    TRACEPARENT = "traceparent";
    /// Vendors' state.
    TRACESTATE = "tracestate";
    /// What travels with the trace for others to read.
    BAGGAGE = "baggage";

    // --- MCP
    /// The method. On every span of a call. MCP.
    MCP_METHOD_NAME = "mcp.method.name";
    /// The revision spoken. MCP.
    MCP_PROTOCOL_VERSION = "mcp.protocol.version";
    /// The session of a legacy peer. Spans only. MCP.
    MCP_SESSION_ID = "mcp.session.id";
    /// The URI of `resources/read` and its kin. MCP.
    MCP_RESOURCE_URI = "mcp.resource.uri";
    /// The id of the request as text; not for null. Spans only. MCP.
    JSONRPC_REQUEST_ID = "jsonrpc.request.id";

    // --- GenAI
    /// `execute_tool`, for `tools/call` only. MCP.
    GEN_AI_OPERATION_NAME = "gen_ai.operation.name";
    /// The tool as the receiver of the request knows it. MCP.
    GEN_AI_TOOL_NAME = "gen_ai.tool.name";
    /// The prompt. MCP.
    GEN_AI_PROMPT_NAME = "gen_ai.prompt.name";

    // --- RPC and General
    /// The class of the failure: a JSON-RPC code, `tool_error`, or the name of a broker's error kind. General.
    ERROR_TYPE = "error.type";
    /// The JSON-RPC error code as text. RPC; renamed `rpc.status_code` on main, MCP still has this one.
    RPC_RESPONSE_STATUS_CODE = "rpc.response.status_code";
    /// `grpc`. RPC.
    RPC_SYSTEM_NAME = "rpc.system.name";
    /// The method with its service, such as `spanwire.v1.Contexts/Get`. RPC.
    RPC_METHOD = "rpc.method";
    /// `tcp`, or `pipe` for stdio. General.
    NETWORK_TRANSPORT = "network.transport";
    /// Address of the caller. SERVER spans. General.
    CLIENT_ADDRESS = "client.address";
    /// Port of the caller. SERVER spans. General.
    CLIENT_PORT = "client.port";

    // --- Messaging
    /// `nats` or `memory`; not in the list of well-known values, which allows others. Messaging.
    MESSAGING_SYSTEM = "messaging.system";
    /// `publish`, `process`. Messaging.
    MESSAGING_OPERATION_NAME = "messaging.operation.name";
    /// `send`, `process`. Messaging.
    MESSAGING_OPERATION_TYPE = "messaging.operation.type";
    /// The subject with its variable parts in braces. Messaging.
    MESSAGING_DESTINATION_TEMPLATE = "messaging.destination.template";
    /// The queue group. Messaging.
    MESSAGING_CONSUMER_GROUP_NAME = "messaging.consumer.group.name";
    /// The call id. Messaging.
    MESSAGING_MESSAGE_CONVERSATION_ID = "messaging.message.conversation_id";

    // --- Resource (General, "Service")
    /// The node. Of the resource.
    SERVICE_INSTANCE_ID = "service.instance.id";
    /// Of the resource.
    SERVICE_VERSION = "service.version";

    // --- Our own
    /// The node that did the work.
    SPANWIRE_NODE = "spanwire.node";
    /// The server that the call was routed to.
    SPANWIRE_SERVER = "spanwire.server";
    /// The view that the call came through.
    SPANWIRE_VIEW = "spanwire.view";
    /// Who called.
    SPANWIRE_PRINCIPAL = "spanwire.principal";
    /// UUID of the call, the same on every node.
    SPANWIRE_CALL_ID = "spanwire.call_id";
    /// How the call was carried: `local`, `backbone`, or `nowhere` when no node has the server.
    SPANWIRE_ROUTE = "spanwire.route";
    /// The node whose replica of the server has the call. On the span of the decision: the last one that was tried.
    SPANWIRE_REPLICA = "spanwire.replica";
    /// Which attempt this is, from 1; on the span of the decision how many there were.
    SPANWIRE_ATTEMPT = "spanwire.attempt";
    /// How far the replica is trusted when it was not found well: `trial`, `open`, `draining`, `suspect`.
    SPANWIRE_STANDING = "spanwire.standing";
    /// Milliseconds that the call waited for its server to be on some node again.
    SPANWIRE_HELD_MS = "spanwire.held_ms";
    /// How the client is connected: `http`, `stdio`, `grpc`.
    SPANWIRE_EDGE = "spanwire.edge";
    /// The era of the peer: `modern`, `legacy`.
    SPANWIRE_ERA = "spanwire.era";
    /// The call's part in a question of the server to its client: `required` when it ended by asking, `brought` when it brings the answers.
    SPANWIRE_INPUT = "spanwire.input";
    /// Milliseconds that the call waited for a free place.
    SPANWIRE_WAIT_MS = "spanwire.wait_ms";
    /// Milliseconds between the nodes, both ways.
    SPANWIRE_WIRE_MS = "spanwire.wire_ms";
    /// Milliseconds that the server took.
    SPANWIRE_EXECUTE_MS = "spanwire.execute_ms";
    /// Milliseconds of the budget that were left when the work began.
    SPANWIRE_BUDGET_MS = "spanwire.budget_ms";
    /// The shard of the ledger: its book, a dot, its number.
    SPANWIRE_LEDGER_SHARD = "spanwire.ledger.shard";
    /// The number of an entry in its log.
    SPANWIRE_LEDGER_SEQUENCE = "spanwire.ledger.sequence";
    /// What became of a command: `applied`, the reason of a refusal, or the name of the broker's error kind.
    SPANWIRE_LEDGER_OUTCOME = "spanwire.ledger.outcome";
    /// How often a command was given to the log.
    SPANWIRE_LEDGER_ATTEMPTS = "spanwire.ledger.attempts";
    /// True when the command had been in the log before it was appended.
    SPANWIRE_LEDGER_REDELIVERY = "spanwire.ledger.redelivery";
    /// The space of the shared context.
    SPANWIRE_CONTEXT_SPACE = "spanwire.context.space";
    /// How many keys a write is about.
    SPANWIRE_CONTEXT_KEYS = "spanwire.context.keys";
    /// Bytes of the params.
    SPANWIRE_PARAMS_BYTES = "spanwire.params_bytes";
    /// Bytes of the result.
    SPANWIRE_RESULT_BYTES = "spanwire.result_bytes";

    // --- Metrics, as they are scraped. Semantic-convention names in Prometheus form first (MCP, "Metrics").
    /// How long calls took, as their callers saw it. Histogram.
    METRIC_SERVER_OPERATION_DURATION = "mcp_server_operation_duration_seconds";
    /// How long servers took. Histogram.
    METRIC_CLIENT_OPERATION_DURATION = "mcp_client_operation_duration_seconds";
    /// Time of a call that was the broker's own. Histogram.
    METRIC_BROKER_OVERHEAD = "spanwire_broker_overhead_seconds";
    /// Waiting for a free place at a server. Histogram.
    METRIC_CALL_WAIT = "spanwire_call_wait_seconds";
    /// Between nodes. Histogram.
    METRIC_CALL_WIRE = "spanwire_call_wire_seconds";
    /// Calls running. Gauge.
    METRIC_CALLS_IN_FLIGHT = "spanwire_calls_in_flight";
    /// Requests on the backbone. Gauge.
    METRIC_BACKBONE_IN_FLIGHT = "spanwire_backbone_in_flight";
    /// Sessions of legacy clients. Gauge.
    METRIC_SESSIONS = "spanwire_sessions";
    /// Servers by state. Gauge.
    METRIC_SERVERS = "spanwire_servers";
    /// Nodes seen, this one included. Gauge.
    METRIC_NODES = "spanwire_nodes";
    /// Restarts of servers. Counter.
    METRIC_SERVER_RESTARTS = "spanwire_server_restarts_total";
    /// Calls refused before they were forwarded. Counter.
    METRIC_CALLS_REJECTED = "spanwire_calls_rejected_total";
    /// Calls that were tried on another replica, by the error of the one before. Counter.
    METRIC_CALLS_RETRIED = "spanwire_calls_retried_total";
    /// Calls that wait for their server to be on some node again. Gauge.
    METRIC_CALLS_HELD = "spanwire_calls_held";
    /// Times that replicas of a server were found sick: they are asked last for a while. Counter.
    METRIC_REPLICAS_SICK = "spanwire_replicas_sick_total";
    /// Calls whose caller went away. Counter.
    METRIC_CALLS_CANCELLED = "spanwire_calls_cancelled_total";
    /// Views of a shard that did not agree with their log and were made anew. Counter.
    METRIC_LEDGER_REBUILDS = "spanwire_ledger_rebuilds_total";
    /// Changes of the shared context that writers of this node wanted. Counter.
    METRIC_CONTEXT_OPERATIONS = "spanwire_context_operations_total";
    /// Commands that were appended here, by what became of them. Counter.
    METRIC_LEDGER_APPENDS = "spanwire_ledger_appends_total";
    /// From the append of a command to its outcome. Histogram.
    METRIC_LEDGER_APPEND_DURATION = "spanwire_ledger_append_seconds";
    /// Last entry of a shard that is applied on this node. Gauge.
    METRIC_LEDGER_APPLIED = "spanwire_ledger_applied_entries";
    /// Entries of a shard that are not applied on this node yet. Gauge.
    METRIC_LEDGER_LAG = "spanwire_ledger_lag_entries";
    /// 1 for the state that a shard is in on this node, 0 for the others. Gauge.
    METRIC_LEDGER_STATE = "spanwire_ledger_state";
    /// What became of ended spans. Counter.
    METRIC_TELEMETRY_SPANS = "spanwire_telemetry_spans_total";
    /// Spans waiting to be exported. Gauge.
    METRIC_TELEMETRY_QUEUE = "spanwire_telemetry_queue_spans";
    /// When spans were last exported, in seconds of the Unix epoch. Gauge.
    METRIC_TELEMETRY_LAST_EXPORT = "spanwire_telemetry_last_export_timestamp_seconds";
    /// Memory of the process. Gauge.
    METRIC_PROCESS_MEMORY = "process_resident_memory_bytes";
    /// Open file descriptors of the process. Gauge.
    METRIC_PROCESS_FDS = "process_open_fds";

    // --- Labels of metrics: the keys above in Prometheus form.
    /// Of [`MCP_METHOD_NAME`].
    LABEL_METHOD = "mcp_method_name";
    /// Of [`GEN_AI_TOOL_NAME`].
    LABEL_TOOL = "gen_ai_tool_name";
    /// Of [`SPANWIRE_SERVER`].
    LABEL_SERVER = "spanwire_server";
    /// Of [`ERROR_TYPE`].
    LABEL_ERROR_TYPE = "error_type";
    /// Of [`MCP_PROTOCOL_VERSION`].
    LABEL_REVISION = "mcp_protocol_version";
    /// State of a server or a shard.
    LABEL_STATE = "state";
    /// A shard of the ledger, such as `context.0`.
    LABEL_SHARD = "shard";
    /// Of [`SPANWIRE_LEDGER_OUTCOME`].
    LABEL_OUTCOME = "outcome";
    /// Why a call was refused.
    LABEL_REASON = "reason";
    /// What became of a span.
    LABEL_RESULT = "result";
    /// What is done to a key of the shared context.
    LABEL_OPERATION = "operation";
}

/// `error.type` of a tool that answered with `isError` (MCP).
pub const ERROR_TYPE_TOOL: &str = "tool_error";
/// [`GEN_AI_OPERATION_NAME`] of `tools/call` (MCP).
pub const OPERATION_EXECUTE_TOOL: &str = "execute_tool";
/// [`RPC_SYSTEM_NAME`] of the control API.
pub const RPC_SYSTEM_GRPC: &str = "grpc";
/// The label value of whatever would make a metric grow without bound.
pub const OTHER: &str = "_other";

/// Span name of an append to the ledger, whichever ledger it is.
pub const SPAN_LEDGER_APPEND: &str = "ledger append";
/// Span name of a write to the shared context.
pub const SPAN_CONTEXT_WRITE: &str = "context write";

/// Span name of a CLIENT or SERVER span: `{mcp.method.name} {target}`, where the target is the tool or the prompt and
/// never a resource's URI (MCP).
pub fn call_span(method: &str, target: Option<&str>) -> Cow<'static, str> {
    match target {
        Some(target) => format!("{method} {target}").into(),
        None => method.to_owned().into(),
    }
}

/// Span name of a request to the control API, and [`RPC_METHOD`]: `{service}/{method}` (RPC).
pub fn rpc_span(service: &str, method: &str) -> String {
    format!("{service}/{method}")
}

/// Span name on the backbone: `{messaging.operation.name} {messaging.destination.template}` (Messaging).
pub fn bus_span(operation: &str, template: &str) -> Cow<'static, str> {
    format!("{operation} {template}").into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_guessable() {
        assert_eq!(ALL.iter().map(|(_, key)| key).collect::<HashSet<_>>().len(), ALL.len());
        for (name, key) in ALL.iter().filter(|(name, _)| !name.starts_with("METRIC_") && !name.starts_with("LABEL_")) {
            assert_eq!(*name, key.to_uppercase().replace('.', "_"));
        }
        assert_eq!(call_span("tools/call", Some("x")), "tools/call x");
        assert_eq!(call_span("tools/list", None), "tools/list");
    }
}
