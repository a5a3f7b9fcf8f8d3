//! The few members of `params` that a broker decides on.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Json, Method};

/// What a broker reads of a request's params. A member that matters for routing and comes twice is an error.
#[derive(Debug, Default, Deserialize)]
pub struct Params<'a> {
    /// Tool or prompt name.
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    /// Resource URI.
    #[serde(borrow, default)]
    pub uri: Option<Cow<'a, str>>,
    /// Position in a list.
    #[serde(borrow, default)]
    pub cursor: Option<Cow<'a, str>>,
    /// What is being completed.
    #[serde(borrow, default, rename = "ref")]
    pub reference: Option<CompletionRef<'a>>,
    /// The filter of `subscriptions/listen`.
    #[serde(default)]
    pub notifications: Option<SubscriptionFilter>,
    /// Level of `logging/setLevel`.
    #[serde(borrow, default)]
    pub level: Option<Cow<'a, str>>,
    /// Tool arguments, unread.
    #[serde(borrow, default)]
    pub arguments: Option<&'a RawValue>,
    /// What the server gave with `input_required`, on the retry: opaque.
    #[serde(borrow, default, rename = "requestState")]
    pub request_state: Option<Cow<'a, str>>,
    /// Answers to what the server asked, by its keys, unread.
    #[serde(borrow, default, rename = "inputResponses")]
    pub input_responses: Option<&'a RawValue>,
    /// Task.
    #[serde(borrow, default, rename = "taskId")]
    pub task_id: Option<Cow<'a, str>>,
    /// Metadata of the request.
    #[serde(borrow, default, rename = "_meta")]
    pub meta: Meta<'a>,
}

/// What a broker reads of `_meta`.
#[derive(Debug, Default, Deserialize)]
pub struct Meta<'a> {
    /// Protocol version of the request.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/protocolVersion")]
    pub protocol_version: Option<Cow<'a, str>>,
    /// What the client can do, unread.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientCapabilities")]
    pub client_capabilities: Option<&'a RawValue>,
    /// Who the client says it is, unread.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientInfo")]
    pub client_info: Option<&'a RawValue>,
    /// Least severe log message that the client wants.
    #[serde(borrow, default, rename = "io.modelcontextprotocol/logLevel")]
    pub log_level: Option<Cow<'a, str>>,
    /// Token for progress notifications, unread.
    #[serde(borrow, default, rename = "progressToken")]
    pub progress_token: Option<&'a RawValue>,
    /// W3C trace context.
    #[serde(borrow, default)]
    pub traceparent: Option<Cow<'a, str>>,
    /// W3C trace state.
    #[serde(borrow, default)]
    pub tracestate: Option<Cow<'a, str>>,
    /// W3C baggage.
    #[serde(borrow, default)]
    pub baggage: Option<Cow<'a, str>>,
}

/// The `ref` of `completion/complete`.
#[derive(Debug, Deserialize)]
pub struct CompletionRef<'a> {
    /// `ref/prompt` or `ref/resource`.
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'a, str>,
    /// Prompt name.
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    /// Resource or template URI.
    #[serde(borrow, default)]
    pub uri: Option<Cow<'a, str>>,
}

/// The filter of `subscriptions/listen` (2026-07-28, basic/patterns/subscriptions, "Notification Filter").
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionFilter {
    /// Wants changes of the tools.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tools_list_changed: bool,
    /// Wants changes of the prompts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prompts_list_changed: bool,
    /// Wants changes of the resources.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resources_list_changed: bool,
    /// Wants updates of these resources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_subscriptions: Vec<String>,
    /// Wants the states of these tasks (extension `io.modelcontextprotocol/tasks`, "Task Status Notifications").
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub task_ids: Vec<String>,
}

impl<'a> Params<'a> {
    /// Reads params; absent params are empty ones. The error text is safe to send to the peer.
    pub fn read(params: Option<&'a Json>) -> Result<Self, String> {
        match params {
            None => Ok(Self::default()),
            Some(json) => json.read().map_err(|error| format!("invalid params: {error}")),
        }
    }

    /// The same for a method: of one that is not known here only the metadata is read, whatever else is in its params is its own.
    pub fn read_for(method: &Method, params: Option<&'a Json>) -> Result<Self, String> {
        #[derive(Default, Deserialize)]
        struct MetaOnly<'a> {
            #[serde(borrow, default, rename = "_meta")]
            meta: Meta<'a>,
        }
        match (method, params) {
            (Method::Other(_), Some(json)) => {
                let read: MetaOnly<'a> = json.read().map_err(|error| format!("invalid params: {error}"))?;
                Ok(Self { meta: read.meta, ..Self::default() })
            }
            _ => Self::read(params),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn routing_members_must_not_come_twice() {
        let check = |text: &'static str, expected: Result<Option<&str>, &str>| {
            let json = Json::from_trusted(text);
            match (Params::read(Some(&json)), expected) {
                (Ok(params), Ok(name)) => assert_eq!(params.name.as_deref(), name),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (got, expected) => panic!("{text}: {got:?}, expected {expected:?}"),
            }
        };
        check(r#"{"name":"a","other":1,"other":2}"#, Ok(Some("a")));
        check(r#"{"name":"a","n\u0061me":"b"}"#, Err("duplicate field `name`"));
        check(r#"{"_meta":{"traceparent":"a","traceparent":"b"}}"#, Err("duplicate field `traceparent`"));
        check(r#"{"name":7}"#, Err("invalid type"));
        let own = Json::from_trusted(r#"{"name":7,"_meta":{"traceparent":"a"}}"#);
        let read = Params::read_for(&Method::from("x/own"), Some(&own)).unwrap();
        assert_eq!((read.name, read.meta.traceparent.as_deref()), (None, Some("a")));
        assert!(Params::read_for(&Method::ToolsCall, Some(&own)).is_err());
        check("{}", Ok(None));
    }
}
