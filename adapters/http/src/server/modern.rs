//! A 2026-07-28 message: it carries everything that is needed to serve it.

use std::time::Duration;

use axum::response::{IntoResponse, Response as HttpResponse};
use futures::StreamExt;
use http::{HeaderMap, StatusCode};
use spanwire_mcp::{Json, Message, Meta, Method, Params, Request, RequestId, Response, Revision, codes, meta};
use spanwire_model::{
    Call, ClientFacts, EdgeTransport, EraChoice, Error, ErrorKind, Event, Outcome, Reply, TraceContext,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Caller, Edge, agreement,
    answer::{self, Out, Outgoing},
    opening::served,
    refusal::{Refusal, note, status_of},
    streams::StreamSlot,
};

/// Serves one modern message.
pub(crate) async fn post(edge: &Edge, caller: Caller, message: Message) -> Result<HttpResponse, Refusal> {
    match message {
        Message::Request(request) => self::request(edge, caller, request).await,
        Message::Notification(notification) => {
            let params = read(&notification.method, notification.params.as_ref())?;
            agreement::known_version(edge.config.era, &caller.headers, params.meta.protocol_version.as_deref())?;
            tracing::debug!(method = %notification.method, "accepted a notification that means nothing over http");
            Ok(StatusCode::ACCEPTED.into_response())
        }
        Message::Response(_) => Err(Refusal::bad_request(
            ErrorKind::InvalidRequest,
            "a client sends no responses: answer input requests by retrying the request",
        )),
    }
}

async fn request(edge: &Edge, caller: Caller, request: Request) -> Result<HttpResponse, Refusal> {
    let params = read(&request.method, request.params.as_ref())?;
    agreement::check(edge, &caller, &request, &params)?;
    let parent = parent(&params.meta, &caller.headers);
    if is_gone(&request.method) {
        let text = format!("unknown method \"{}\"", super::gate::excerpt(request.method.as_str()));
        return Err(Refusal::of(Error::new(ErrorKind::MethodNotFound, text)));
    }
    let (listening, discovering) = (request.method == Method::Listen, request.method == Method::Discover);
    let slot = if listening { Some(edge.streams.take(&caller.principal).map_err(Refusal::of)?) } else { None };
    let call = Call {
        id: Uuid::now_v7(),
        principal: caller.principal,
        view: caller.view,
        method: request.method,
        params: request.params.unwrap_or_else(Json::empty_object),
        deadline: Instant::now() + budget(edge, listening),
        parent,
        client: ClientFacts {
            address: caller.address,
            request_id: Some(request.id.to_string()),
            ..ClientFacts::of(EdgeTransport::Http, Revision::V2026_07_28)
        },
    };
    let mut reply = edge.dispatch.dispatch(call);
    if discovering {
        reply = discovered(reply, edge.config.era);
    }
    let outgoing = match slot {
        Some(slot) => listen(reply, request.id, slot, edge.config.shutdown.clone()),
        None => exchange(reply, request.id),
    };
    Ok(answer::one(outgoing, edge.config.keep_alive).await)
}

/// What was discovered, with the revisions of this listener.
fn discovered(reply: Reply, era: EraChoice) -> Reply {
    let versions: Vec<&str> = served(era).iter().map(|revision| revision.as_str()).collect();
    let versions = serde_json::json!(versions).to_string();
    Reply::new(reply.map(move |event| match event {
        Event::Done(Ok(result)) => Event::Done(Ok(result.with(&[("supportedVersions", versions.as_bytes())], &[]))),
        event => event,
    }))
}

/// The budget of a call that starts now.
pub(crate) fn budget(edge: &Edge, listening: bool) -> Duration {
    let config = &edge.config;
    if listening { config.max_call_timeout } else { config.default_call_timeout.min(config.max_call_timeout) }
}

fn read<'a>(method: &Method, params: Option<&'a Json>) -> Result<Params<'a>, Refusal> {
    Params::read_for(method, params).map_err(|text| Refusal::bad_request(ErrorKind::InvalidParams, text))
}

/// Methods of older revisions that this one took away, and those that only a server sends.
fn is_gone(method: &Method) -> bool {
    match method {
        Method::Initialize
        | Method::Ping
        | Method::ResourcesSubscribe
        | Method::ResourcesUnsubscribe
        | Method::SetLevel
        | Method::SamplingCreateMessage
        | Method::ElicitationCreate
        | Method::RootsList
        | Method::Initialized
        | Method::Cancelled
        | Method::Progress
        | Method::LogMessage
        | Method::ToolsListChanged
        | Method::PromptsListChanged
        | Method::ResourcesListChanged
        | Method::ResourceUpdated
        | Method::SubscriptionAcknowledged
        | Method::TasksResult
        | Method::TasksList
        | Method::TaskStatus
        | Method::LegacyTaskStatus
        | Method::ElicitationComplete
        | Method::RootsListChanged => true,
        Method::Discover
        | Method::ToolsList
        | Method::ToolsCall
        | Method::PromptsList
        | Method::PromptsGet
        | Method::ResourcesList
        | Method::ResourceTemplatesList
        | Method::ResourcesRead
        | Method::Complete
        | Method::Listen
        | Method::TasksGet
        | Method::TasksUpdate
        | Method::TasksCancel
        | Method::Other(_) => false,
    }
}

/// The caller's position in its trace: the message's own wins over the header. One that cannot be read is left aside.
pub(crate) fn parent(meta: &Meta<'_>, headers: &HeaderMap) -> Option<TraceContext> {
    let read = |traceparent: &str, tracestate: Option<&str>| {
        TraceContext::parse(traceparent, tracestate)
            .inspect_err(|error| tracing::debug!(%error, "ignored a trace context"))
            .ok()
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    meta.traceparent
        .as_deref()
        .and_then(|traceparent| read(traceparent, meta.tracestate.as_deref()))
        .or_else(|| read(header(meta::TRACEPARENT)?, header(meta::TRACESTATE)))
}

/// The messages of a request that ends.
fn exchange(reply: Reply, id: RequestId) -> Outgoing {
    Box::pin(reply.map(move |event| match event {
        Event::Progress(notification) | Event::Notification(notification) => Out::Notification(notification.to_bytes()),
        Event::Done(outcome) => response(id.clone(), outcome),
    }))
}

/// The messages of `subscriptions/listen`: each carries the request's id, and a shutdown ends the stream with a result
/// (2026-07-28, basic/patterns/subscriptions, "Graceful Closure").
fn listen(
    mut reply: Reply,
    id: RequestId,
    slot: StreamSlot,
    shutdown: tokio_util::sync::CancellationToken,
) -> Outgoing {
    Box::pin(async_stream::stream! {
        let _slot = slot;
        let subscription = id.to_json();
        loop {
            let event = tokio::select! {
                biased;
                event = reply.next() => event,
                () = shutdown.cancelled() => Some(Event::Done(Ok(Json::from_trusted("{\"resultType\":\"complete\"}")))),
            };
            match event {
                Some(Event::Progress(mut notification) | Event::Notification(mut notification)) => {
                    let params = notification.params.take().unwrap_or_else(Json::empty_object);
                    notification.params = Some(stamp(&params, &subscription));
                    yield Out::Notification(notification.to_bytes());
                }
                Some(Event::Done(outcome)) => {
                    yield response(id.clone(), outcome.map(|result| stamp(&result, &subscription)));
                    break;
                }
                None => break,
            }
        }
    })
}

/// Puts the subscription's id into `_meta`.
fn stamp(object: &Json, subscription: &str) -> Json {
    let meta = object.get("_meta").filter(Json::is_object).unwrap_or_else(Json::empty_object);
    let meta = meta.with(&[(meta::SUBSCRIPTION_ID, subscription.as_bytes())], &[]);
    object.with(&[("_meta", meta.as_bytes())], &[])
}

/// The response, with the codes of this revision.
fn response(id: RequestId, outcome: Outcome) -> Out {
    let (status, outcome) = match outcome {
        Ok(result) => (StatusCode::OK, Ok(result)),
        Err(mut error) => {
            if error.json_rpc_code() == codes::LEGACY_RESOURCE_NOT_FOUND {
                error.code = Some(codes::INVALID_PARAMS);
            }
            note(&error);
            (status_of(&error), Err(error.to_object()))
        }
    };
    Out::Response(status, Response { id: Some(id), outcome }.to_bytes())
}
