//! What a server asks of its client in mid-call (2026-07-28, basic/patterns/mrtr): the `input_required` result, its answers, and
//! the capabilities that allow it.
//!
//! Older revisions ask with requests of their own (`elicitation/create`, `sampling/createMessage`, `roots/list`). The params and
//! results of these are the same in both, so that only the envelope is written here.

use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::{ErrorObject, Json, Method, ObjectWriter, meta, string_literal};

/// `resultType` of a result that asks for input.
pub const INPUT_REQUIRED: &str = "input_required";
/// `resultType` of a result that is a task (extension `io.modelcontextprotocol/tasks`).
pub const TASK: &str = "task";
/// How most complete results begin, so that they are told apart without a search.
const COMPLETE_PREFIX: &[u8] = b"{\"resultType\":\"complete\"";

/// One thing that a server asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputRequest {
    /// The server's name of it, unique within the result.
    pub key: String,
    /// `elicitation/create`, `sampling/createMessage` or `roots/list`.
    pub method: Method,
    /// Its params.
    pub params: Option<Json>,
}

/// A result that asks for input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputRequired {
    /// What is asked for.
    pub requests: Vec<InputRequest>,
    /// Goes back with the retry as it is.
    pub request_state: Option<String>,
}

#[derive(Deserialize)]
struct RawRequest {
    method: String,
    #[serde(default)]
    params: Option<Json>,
}

impl InputRequired {
    /// Reads a result. `None` when it is of another type; the text of an error is safe to send to the peer.
    pub fn read(result: &Json) -> Option<Result<Self, String>> {
        has_result_type(result, INPUT_REQUIRED).then(|| {
            let read = Self::of(result)?;
            if read.requests.is_empty() && read.request_state.is_none() {
                return Err("an input_required result has neither inputRequests nor requestState".to_owned());
            }
            Ok(read)
        })
    }

    /// Reads what an object asks for in the members of such a result: the state of a task does so too.
    pub fn of(result: &Json) -> Result<Self, String> {
        let request_state = match result.get("requestState") {
            Some(state) => Some(state.read().map_err(|error| format!("requestState is no string: {error}"))?),
            None => None,
        };
        let mut requests = Vec::new();
        for entry in result.get("inputRequests").iter().flat_map(Json::entries) {
            let key = entry.key();
            let raw: RawRequest =
                serde_json::from_slice(entry.value).map_err(|error| format!("inputRequests[\"{key}\"]: {error}"))?;
            let method = Method::from(raw.method.as_str());
            if !is_input(&method) {
                return Err(format!("inputRequests[\"{key}\"] has method \"{method}\", which asks for no input"));
            }
            requests.push(InputRequest { key, method, params: raw.params });
        }
        Ok(Self { requests, request_state })
    }

    /// The result.
    pub fn to_result(&self) -> Json {
        let mut result = ObjectWriter::with_capacity(256);
        result.member("resultType", b"\"input_required\"");
        if !self.requests.is_empty() {
            let mut requests = ObjectWriter::with_capacity(256);
            for request in &self.requests {
                let mut one = ObjectWriter::with_capacity(256);
                one.member("method", string_literal(request.method.as_str()).as_bytes());
                if let Some(params) = &request.params {
                    one.member("params", params.as_bytes());
                }
                requests.member(&request.key, one.finish().as_bytes());
            }
            result.member("inputRequests", requests.finish().as_bytes());
        }
        if let Some(state) = &self.request_state {
            result.member("requestState", string_literal(state).as_bytes());
        }
        result.finish()
    }
}

/// True for the three methods with which a server asks for input.
pub fn is_input(method: &Method) -> bool {
    matches!(method, Method::ElicitationCreate | Method::SamplingCreateMessage | Method::RootsList)
}

/// True when a result is of this type. A complete result, which most are, is told apart at its first bytes, or by one fast search.
pub fn has_result_type(result: &Json, wanted: &str) -> bool {
    let bytes = result.as_bytes();
    // A word can also be written with escapes.
    let may_hold = || memmem::find(bytes, wanted.as_bytes()).is_some() || memmem::find(bytes, b"\\u").is_some();
    !bytes.starts_with(COMPLETE_PREFIX)
        && may_hold()
        && result.get("resultType").is_some_and(|kind| kind.read::<String>().is_ok_and(|kind| kind == wanted))
}

/// What a client must have declared for a server to ask this, as an object in the form of `capabilities`; `None` when the declared
/// ones have it. `capabilities` is an object. An empty `elicitation` means forms (2026-07-28, client/elicitation, "Capabilities").
pub fn missing_capability(capabilities: &Json, method: &Method, params: Option<&Json>) -> Option<Json> {
    let member = |of: Option<&Json>, key: &str| of.and_then(|of| of.get(key)).filter(Json::is_object);
    let asks = |key: &str| params.and_then(|params| params.get(key)).is_some_and(|value| value.as_str() != "null");
    let needed = |text: &'static str| Some(Json::from_trusted(text));
    match method {
        Method::RootsList => match member(Some(capabilities), "roots") {
            Some(_) => None,
            None => needed(r#"{"roots":{}}"#),
        },
        Method::SamplingCreateMessage => {
            let sampling = member(Some(capabilities), "sampling");
            match sampling {
                Some(_) if asks("tools") || asks("toolChoice") => match member(sampling.as_ref(), "tools") {
                    Some(_) => None,
                    None => needed(r#"{"sampling":{"tools":{}}}"#),
                },
                Some(_) => None,
                None => needed(r#"{"sampling":{}}"#),
            }
        }
        Method::ElicitationCreate => {
            let elicitation = member(Some(capabilities), "elicitation");
            let mode = params.and_then(|params| params.get("mode")?.read::<String>().ok());
            if mode.as_deref() == Some("url") {
                return match member(elicitation.as_ref(), "url") {
                    Some(_) => None,
                    None => needed(r#"{"elicitation":{"url":{}}}"#),
                };
            }
            match &elicitation {
                Some(declared) if declared.get("form").is_some() || declared.get("url").is_none() => None,
                _ => needed(r#"{"elicitation":{"form":{}}}"#),
            }
        }
        _ => needed("{}"),
    }
}

#[derive(Serialize, Deserialize)]
struct ErrorBody {
    code: i64,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
}

/// An input response that stands for the error with which a client of an older revision answered: 2026-07-28 has no form for
/// it, and a server of an older revision must still get it.
pub fn error_response(error: &ErrorObject) -> Json {
    let body =
        ErrorBody { code: error.code, message: error.message.clone(), data: error.data.as_ref().map(Json::to_value) };
    let body = Json::from_serialize(&body).unwrap_or_else(|_| Json::empty_object());
    let mut inner = ObjectWriter::with_capacity(body.len() + 32);
    inner.member(meta::INPUT_ERROR, body.as_bytes());
    let mut response = ObjectWriter::with_capacity(body.len() + 48);
    response.member("_meta", inner.finish().as_bytes());
    response.finish()
}

/// The error that an input response stands for, if it does.
pub fn response_error(response: &Json) -> Option<ErrorObject> {
    let body: ErrorBody = response.get("_meta")?.get(meta::INPUT_ERROR)?.read().ok()?;
    let data = body.data.and_then(|data| Json::from_serialize(&data).ok());
    Some(ErrorObject { code: body.code, message: body.message, data })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn what_is_asked_survives_both_ways() {
        let text = r#"{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{"message":"?"}}},"requestState":"s\""}"#;
        let read = InputRequired::read(&Json::from_trusted(text)).unwrap().unwrap();
        assert_eq!(read.requests.len(), 2);
        assert_eq!(read.to_result().as_str(), text);
        for (text, expected) in [
            (r#"{"resultType":"input_required"}"#, "neither"),
            (r#"{"resultType":"input_required","requestState":7}"#, "no string"),
            (r#"{"resultType":"input_required","inputRequests":{"a":{"method":"tools/list"}}}"#, "asks for no input"),
            (r#"{"resultType":"input_required","inputRequests":{"a":7}}"#, "inputRequests[\"a\"]"),
        ] {
            let error = InputRequired::read(&Json::from_trusted(text)).unwrap().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for text in [r#"{"resultType":"complete","x":"input_required"}"#, r#"{"a":1}"#, "[]"] {
            assert!(InputRequired::read(&Json::from_trusted(text)).is_none(), "{text}");
        }
        let escaped = Json::from_trusted(r#"{"resultType":"input\u005frequired","requestState":"s"}"#);
        assert!(has_result_type(&escaped, INPUT_REQUIRED));
    }

    #[test]
    fn capabilities_decide_what_may_be_asked() {
        let check = |capabilities: &'static str, method: Method, params: &'static str, expected: Option<&str>| {
            let params = Json::from_trusted(params);
            let missing = missing_capability(&Json::from_trusted(capabilities), &method, Some(&params));
            assert_eq!(missing.as_ref().map(Json::as_str), expected, "{capabilities} {method}");
        };
        check("{}", Method::RootsList, "{}", Some(r#"{"roots":{}}"#));
        check(r#"{"roots":{}}"#, Method::RootsList, "{}", None);
        check(r#"{"sampling":{}}"#, Method::SamplingCreateMessage, "{}", None);
        check(
            r#"{"sampling":{}}"#,
            Method::SamplingCreateMessage,
            r#"{"tools":[]}"#,
            Some(r#"{"sampling":{"tools":{}}}"#),
        );
        check(r#"{"sampling":{"tools":{}}}"#, Method::SamplingCreateMessage, r#"{"tools":[]}"#, None);
        check(r#"{"elicitation":{}}"#, Method::ElicitationCreate, "{}", None);
        check(
            r#"{"elicitation":{}}"#,
            Method::ElicitationCreate,
            r#"{"mode":"url"}"#,
            Some(r#"{"elicitation":{"url":{}}}"#),
        );
        check(
            r#"{"elicitation":{"url":{}}}"#,
            Method::ElicitationCreate,
            r#"{"mode":"form"}"#,
            Some(r#"{"elicitation":{"form":{}}}"#),
        );
        check(r#"{"elicitation":{"url":{},"form":{}}}"#, Method::ElicitationCreate, "{}", None);
        check("{}", Method::ElicitationCreate, "{}", Some(r#"{"elicitation":{"form":{}}}"#));
    }

    #[test]
    fn an_error_travels_as_a_response() {
        let error = ErrorObject { code: -1, message: "no".to_owned(), data: Some(Json::from_trusted("[1]")) };
        assert_eq!(response_error(&error_response(&error)), Some(error));
        assert_eq!(response_error(&Json::from_trusted(r#"{"action":"decline"}"#)), None);
    }
}
