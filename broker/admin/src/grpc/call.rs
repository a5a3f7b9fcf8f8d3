//! A call through the control API: the request becomes a call, its events become messages.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use spanwire_mcp::{Json, Limits, Message, Method, Request, RequestId, Revision, meta, string_literal};
use spanwire_model::{
    Call, ClientFacts, EdgeTransport, Error, ErrorKind, Event, Principal, Reply, Result, Retry, TraceContext,
};
use spanwire_rpc::{MAX_MESSAGE_BYTES, v1};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

/// Budget of a call that does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest budget of a call; a larger one is cut to it.
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);
/// What running calls still have when the node shuts down.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
/// Room for the frame of a message around its JSON.
const FRAME_BYTES: usize = 1024;

/// Who the control API says it is. The version is the broker's.
const CLIENT_INFO: &str = concat!("{\"name\":\"spanwire-control\",\"version\":\"", env!("CARGO_PKG_VERSION"), "\"}");

/// Makes a call of the operator.
///
/// Errors: `InvalidRequest`, `InvalidParams`, `UnsupportedVersion`, `Malformed` or `TooLarge`, all about the request itself.
pub(super) fn build(request: v1::CallRequest, peer: Option<SocketAddr>) -> Result<Call> {
    let method = match request.method.as_str() {
        "" => Method::ToolsCall,
        name if name.starts_with("notifications/") => {
            return Err(Error::new(ErrorKind::InvalidRequest, "a notification is not a call"));
        }
        name => Method::from(name),
    };
    let timeout = match request.timeout_ms {
        0 => DEFAULT_TIMEOUT,
        ms => Duration::from_millis(ms).min(MAX_TIMEOUT),
    };
    let id = Uuid::now_v7();
    let params = within_limits(id, &method, params(id, &method, &request)?)?;
    let parent = parent(&request, &params)?;
    let client = ClientFacts {
        address: peer,
        request_id: Some(id.to_string()),
        ..ClientFacts::of(EdgeTransport::Grpc, Revision::CANONICAL)
    };
    Ok(Call {
        id,
        principal: Principal::new(Principal::OPERATOR),
        view: Some(request.view).filter(|view| !view.is_empty()).map(Into::into),
        method,
        params,
        deadline: Instant::now() + timeout,
        parent,
        client,
    })
}

/// A call of the operator that the control API makes for itself. `members` are those of the params but for `_meta`.
pub(super) fn own(method: Method, members: &[(&str, &[u8])], view: &str, deadline: Instant) -> Result<Call> {
    let id = Uuid::now_v7();
    let meta = required_meta(id, None)?;
    let params = Json::empty_object().with(members, &[]).with(&[("_meta", meta.as_bytes())], &[]);
    Ok(Call {
        id,
        principal: Principal::new(Principal::OPERATOR),
        view: Some(view).filter(|view| !view.is_empty()).map(Into::into),
        method,
        params,
        deadline,
        parent: None,
        client: ClientFacts::of(EdgeTransport::Grpc, Revision::CANONICAL),
    })
}

fn object(member: &str, bytes: &Bytes) -> Result<Json> {
    let invalid = |rule| Error::new(ErrorKind::InvalidParams, format!("\"{member}\" {rule}"));
    let json = Json::parse(bytes.clone()).map_err(|_| invalid("is not json"))?;
    if json.is_object() { Ok(json) } else { Err(invalid("must be a json object")) }
}

fn params(id: Uuid, method: &Method, request: &v1::CallRequest) -> Result<Json> {
    let base = match request.params_json.is_empty() {
        true => Json::empty_object(),
        false => object("params_json", &request.params_json)?,
    };
    let name = string_literal(&request.name);
    let arguments = match request.arguments_json.is_empty() {
        true => None,
        false => Some(object("arguments_json", &request.arguments_json)?),
    };
    let meta = required_meta(id, base.get("_meta"))?;
    let mut members: Vec<(&str, &[u8])> = Vec::with_capacity(3);
    if !request.name.is_empty() {
        members.push(("name", name.as_bytes()));
    } else if *method == Method::ToolsCall && base.get("name").is_none() {
        return Err(Error::new(ErrorKind::InvalidParams, "a tools/call needs the name of a tool"));
    }
    if let Some(arguments) = &arguments {
        members.push(("arguments", arguments.as_bytes()));
    }
    members.push(("_meta", meta.as_bytes()));
    Ok(base.with(&members, &[]))
}

/// What a client must send in `_meta` (2026-07-28, basic/index, "_meta"), and a progress token, so that progress comes. What the
/// caller gave stays.
fn required_meta(id: Uuid, given: Option<Json>) -> Result<Json> {
    let given = given.unwrap_or_else(Json::empty_object);
    if !given.is_object() {
        return Err(Error::new(ErrorKind::InvalidParams, "\"_meta\" must be a json object"));
    }
    let version = string_literal(Revision::CANONICAL.as_str());
    if given.get(meta::PROTOCOL_VERSION).is_some_and(|asked| asked.as_str() != version) {
        let text = format!("the control api speaks revision {} only", Revision::CANONICAL);
        return Err(Error::new(ErrorKind::UnsupportedVersion, text));
    }
    let token = string_literal(&id.to_string());
    let required: [(&str, &[u8]); 4] = [
        (meta::PROTOCOL_VERSION, version.as_bytes()),
        (meta::CLIENT_INFO, CLIENT_INFO.as_bytes()),
        (meta::CLIENT_CAPABILITIES, b"{}"),
        (meta::PROGRESS_TOKEN, token.as_bytes()),
    ];
    let absent: Vec<_> = required.into_iter().filter(|(key, _)| given.get(key).is_none()).collect();
    Ok(given.with(&absent, &[]))
}

/// Holds the params against the limits of every edge, by reading them as the message that they would be there.
fn within_limits(id: Uuid, method: &Method, params: Json) -> Result<Json> {
    let id = RequestId::String(id.to_string().into());
    let body = Request { id, method: method.clone(), params: Some(params) }.to_bytes();
    match Message::parse_single(&body, &Limits::default())? {
        Message::Request(Request { params: Some(params), .. }) => Ok(params),
        Message::Request(_) | Message::Notification(_) | Message::Response(_) => {
            Err(Error::new(ErrorKind::InvalidRequest, "not a request"))
        }
    }
}

/// The caller's position in its trace: of the request itself, or else of `_meta`.
fn parent(request: &v1::CallRequest, params: &Json) -> Result<Option<TraceContext>> {
    if !request.traceparent.is_empty() {
        return Ok(TraceContext::parse(&request.traceparent, Some(&request.tracestate)).ok());
    }
    let read = spanwire_mcp::Params::read(Some(params)).map_err(|text| Error::new(ErrorKind::InvalidParams, text))?;
    let state = read.meta.tracestate.as_deref();
    Ok(read.meta.traceparent.and_then(|parent| TraceContext::parse(&parent, state).ok()))
}

/// The events of a reply as messages, until a while after the shutdown. Dropping the stream drops the reply, which cancels the call.
pub(super) fn events(
    mut reply: Reply,
    shutdown: CancellationToken,
    drain: Duration,
) -> impl Stream<Item = Result<v1::CallEvent, Status>> + Send {
    async_stream::stream! {
        let drained = async {
            shutdown.cancelled().await;
            tokio::time::sleep(drain).await;
        };
        tokio::pin!(drained);
        loop {
            let next = tokio::select! {
                biased;
                () = &mut drained => {
                    let text = "the node is shutting down; whether the call was executed is unknown";
                    Some(Event::Done(Err(Error::new(ErrorKind::StreamLost, text))))
                }
                next = reply.next() => next,
            };
            let Some(event) = next else { break };
            let (event, last) = message(event);
            yield Ok(v1::CallEvent { event: Some(event) });
            if last {
                break;
            }
        }
    }
}

/// One event as a message, and whether it is the last. What does not fit into a message ends the call, for nothing is lost silently.
fn message(event: Event) -> (v1::call_event::Event, bool) {
    let (bytes, what) = match &event {
        Event::Progress(progress) => (progress.params.as_ref().map_or(0, Json::len), "a progress notification"),
        Event::Notification(notification) => (notification.params.as_ref().map_or(0, Json::len), "a notification"),
        Event::Done(Ok(result)) => (result.len(), "the result"),
        Event::Done(Err(error)) => (error.public.len() + error.data.as_ref().map_or(0, Json::len), "the error"),
    };
    if bytes > MAX_MESSAGE_BYTES - FRAME_BYTES {
        let text = format!("{what} has {bytes} bytes, the control api carries {}", MAX_MESSAGE_BYTES - FRAME_BYTES);
        return (v1::call_event::Event::Error(failed(&Error::new(ErrorKind::TooLarge, text))), true);
    }
    match event {
        Event::Progress(progress) => {
            let params = progress.params.unwrap_or_else(Json::empty_object);
            (v1::call_event::Event::ProgressJson(params.as_bytes().clone()), false)
        }
        Event::Notification(notification) => (v1::call_event::Event::NotificationJson(notification.to_bytes()), false),
        Event::Done(Ok(result)) => (v1::call_event::Event::ResultJson(result.as_bytes().clone()), true),
        Event::Done(Err(error)) => (v1::call_event::Event::Error(failed(&error)), true),
    }
}

fn failed(error: &Error) -> v1::CallError {
    let object = error.to_object();
    let retry = match error.retry() {
        Retry::Never => v1::Retry::Never,
        Retry::Safe => v1::Retry::Safe,
        Retry::IfIdempotent => v1::Retry::IfIdempotent,
    };
    v1::CallError {
        code: object.code,
        message: object.message,
        data_json: object.data.map(|data| data.as_bytes().clone()).unwrap_or_default(),
        kind: error.kind_name().to_owned(),
        retry: retry.into(),
    }
}

#[cfg(test)]
mod tests;
