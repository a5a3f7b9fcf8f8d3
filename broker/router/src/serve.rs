//! Answers what other nodes forward here.

use std::{sync::Arc, time::Duration};

use async_stream::stream;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use spanwire_catalog::canonical;
use spanwire_mcp::{Json, Limits, Message, Method, Params, Request, RequestId, Response, Revision};
use spanwire_model::{
    BusHandler, BusRequest, Call, ClientFacts, EdgeTransport, Error, ErrorKind, Event, Frame, ListKind, Object,
    Outcome, Place, Principal, Result, Route, ServerId,
};
use spanwire_registry::INVENTORY_METHOD;
use spanwire_telemetry::{SpanKind, names};
use tokio::time::Instant;

use crate::{
    Inner,
    forward::Elsewhere,
    listen,
    plan::method_not_found,
    relay,
    remote::{CALL_TEMPLATE, GRACE, describe_bus},
    sealed,
};

/// The method with which a node asks another one for the spans of a trace. It never leaves the backbone.
pub const TRACE_METHOD: &str = "spanwire/trace";

/// Spans of one trace that are told to another node.
const MAX_SPANS: usize = 1000;

pub(crate) struct Server(pub(crate) Arc<Inner>);

impl BusHandler for Server {
    fn handle(&self, request: BusRequest) -> BoxStream<'static, Frame> {
        if request.server.is_none() && &*request.method == relay::SESSION_METHOD {
            return relay::serve(&self.0, &request);
        }
        match read_request(&request.payload) {
            Ok((id, message)) => match &request.server {
                None => end(&id, self.about_this_node(&message)),
                Some(server) => call_server(&self.0, &request, server.clone(), id, message),
            },
            Err(error) => end(&RequestId::Number(0), Err(error)),
        }
    }
}

impl Server {
    fn about_this_node(&self, request: &Request) -> Outcome {
        match request.method.as_str() {
            INVENTORY_METHOD => Ok(Json::from_trusted(self.0.registry.local_state())),
            TRACE_METHOD => {
                let id = request.params.as_ref().and_then(|params| params.get("traceId")?.read::<String>().ok());
                let id = id.and_then(|hex| u128::from_str_radix(&hex, 16).ok());
                let id = id.ok_or_else(|| Error::new(ErrorKind::InvalidParams, "params lack \"traceId\" in hex"))?;
                let mut spans = self.0.telemetry.ring().trace(id).unwrap_or_default();
                spans.truncate(MAX_SPANS);
                Json::from_serialize(&spans).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
            }
            other => Err(Error::new(ErrorKind::MethodNotFound, format!("unknown method \"{other}\" between nodes"))),
        }
    }
}

fn call_server(
    inner: &Arc<Inner>,
    request: &BusRequest,
    server: ServerId,
    id: RequestId,
    message: Request,
) -> BoxStream<'static, Frame> {
    let parent = request.trace.as_ref();
    let mut span =
        inner.telemetry.tracer().start_with(SpanKind::Consumer, parent, || names::bus_span("process", CALL_TEMPLATE));
    if let Some(parent) = parent {
        span.link(parent);
    }
    let budget = request.budget.saturating_sub(GRACE);
    let call = Call {
        id: request.call_id,
        principal: Principal::new(request.principal.clone()),
        view: None,
        method: message.method,
        params: message.params.unwrap_or_else(Json::empty_object),
        // A budget that no clock can hold is as good as none.
        deadline: Instant::now().checked_add(budget).unwrap_or_else(|| Instant::now() + listen::FOR_EVER),
        parent: Some(span.context()),
        client: ClientFacts::of(EdgeTransport::Backbone, Revision::CANONICAL),
    };
    let context = span.context();
    // The bus is not trusted: what another node permitted is judged here again.
    let permitted = route_of(server, &call).and_then(|(route, brought)| {
        describe_bus(&mut span, inner, "process", "process", &route, &call);
        span.set_text(names::SPANWIRE_PRINCIPAL, &call.principal.name);
        span.set_ms(names::SPANWIRE_BUDGET_MS, budget);
        let unknown = match route.own_name() {
            Some(name) => Inner::unknown("name", name, None),
            None => method_not_found(&call.method),
        };
        // A listen stream lives as long as its client and holds up nobody.
        let running = if call.method == Method::Listen { None } else { Some(inner.enter()?) };
        let permitted = inner.policy.load().authorize(call, route).map_err(|_| unknown)?;
        Ok((permitted, running, brought))
    });
    let (mut reply, running) = match permitted {
        Ok((permitted, running, brought)) => {
            (sealed::local(inner, &permitted, brought.as_deref(), context, Elsewhere::default()), running)
        }
        Err(error) => (spanwire_model::Reply::ready(Err(error)), None),
    };
    stream! {
        let _running = running;
        while let Some(event) = reply.next().await {
            match event {
                Event::Progress(notification) => yield Frame::Progress(notification.to_bytes()),
                Event::Notification(notification) => yield Frame::Message(notification.to_bytes()),
                Event::Done(outcome) => {
                    if let Err(error) = &outcome {
                        span.fail(error);
                    }
                    span.end();
                    yield end_frame(&id, outcome);
                    return;
                }
            }
        }
    }
    .boxed()
}

/// The route of a call that came for a server, from what it names, and the sealed text that it brings back.
fn route_of(server: ServerId, call: &Call) -> Result<(Route, Option<String>)> {
    // Whatever an unknown method has in its params is its own.
    if matches!(call.method, Method::Other(_)) {
        return Ok((Route { server, object: Object::Server, place: Place::Local, call_timeout: None }, None));
    }
    let params = Params::read(Some(&call.params)).map_err(|text| Error::new(ErrorKind::InvalidParams, text))?;
    let lacks = |member: &str| Error::new(ErrorKind::InvalidParams, format!("params lack \"{member}\""));
    let entry = |kind: ListKind, own: &str| Object::Entry {
        kind,
        own_name: own.into(),
        canonical: canonical(kind, &server, own).into(),
    };
    let object = match &call.method {
        Method::ToolsCall => entry(ListKind::Tools, params.name.as_deref().ok_or_else(|| lacks("name"))?),
        Method::PromptsGet => entry(ListKind::Prompts, params.name.as_deref().ok_or_else(|| lacks("name"))?),
        Method::ResourcesRead => entry(ListKind::Resources, params.uri.as_deref().ok_or_else(|| lacks("uri"))?),
        Method::Complete => match params.reference.as_ref() {
            Some(reference) => match (&reference.name, &reference.uri) {
                (Some(name), _) => entry(ListKind::Prompts, name),
                (None, Some(uri)) => entry(ListKind::Resources, uri),
                (None, None) => return Err(lacks("ref")),
            },
            None => return Err(lacks("ref")),
        },
        Method::Listen => {
            let filter = params.notifications.as_ref().ok_or_else(|| lacks("notifications"))?;
            match (&*filter.resource_subscriptions, &*filter.task_ids) {
                ([uri], []) => entry(ListKind::Resources, uri),
                ([], [id]) => sealed::task_object(&server, id)?,
                _ => {
                    let text = "between nodes a listen names exactly one resource or task";
                    return Err(Error::new(ErrorKind::InvalidParams, text));
                }
            }
        }
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => {
            sealed::task_object(&server, params.task_id.as_deref().ok_or_else(|| lacks("taskId"))?)?
        }
        _ => Object::Server,
    };
    let brought = sealed::brought(&call.method, &params).map(str::to_owned);
    Ok((Route { server, object, place: Place::Local, call_timeout: None }, brought))
}

fn read_request(payload: &Bytes) -> Result<(RequestId, Request)> {
    let limits = Limits { max_bytes: usize::MAX, ..Limits::default() };
    match Message::parse_single(payload, &limits)? {
        Message::Request(request) => Ok((request.id.clone(), request)),
        Message::Notification(_) | Message::Response(_) => {
            Err(Error::new(ErrorKind::InvalidRequest, "between nodes every message is a request"))
        }
    }
}

fn end(id: &RequestId, outcome: Outcome) -> BoxStream<'static, Frame> {
    stream::once(std::future::ready(end_frame(id, outcome))).boxed()
}

pub(crate) fn end_frame(id: &RequestId, outcome: Outcome) -> Frame {
    let response = Response { id: Some(id.clone()), outcome: outcome.map_err(|error| error.to_bus_object()) };
    Frame::End { payload: response.to_bytes(), elapsed: Duration::ZERO }
}
