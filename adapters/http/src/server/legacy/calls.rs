//! One request of a session: the call that it becomes, again after each round of input, and the messages that come of it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use spanwire_era::session::{self as era, Dispatcher, Ending, Exchange, Retry, Step, TaskCall};
use spanwire_mcp::{Json, Method, Params, Request, RequestId, Response, Revision};
use spanwire_model::{
    Call, ClientFacts, Dispatch, EdgeTransport, Error, Event, Outcome, Principal, Reply, TraceContext,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    asking::{Again, Asking, Waited},
    session::{Running, Session},
};
use crate::server::{
    Caller, Edge,
    answer::{Out, Outgoing},
    modern,
    refusal::note,
};

/// What every call of one request has in common.
#[derive(Clone)]
pub(super) struct Origin {
    dispatch: Arc<dyn Dispatch>,
    principal: Principal,
    view: Option<Arc<str>>,
    address: Option<SocketAddr>,
    parent: Option<TraceContext>,
    budget: Duration,
}

impl Origin {
    /// The trace context stands in the params as they came, or in the headers.
    pub(super) fn new(edge: &Edge, caller: &Caller, params: Option<&Json>) -> Self {
        let meta = Params::read(params).unwrap_or_default().meta;
        Self {
            dispatch: edge.dispatch.clone(),
            principal: caller.principal.clone(),
            view: caller.view.clone(),
            address: caller.address,
            parent: caller.parent(&meta),
            budget: modern::budget(edge, false),
        }
    }

    /// Dispatches a canonical call. Its budget begins now. The session is not locked meanwhile: the broker plans the call, and may
    /// write a whole list, before it returns.
    pub(super) fn dispatch(
        &self,
        method: Method,
        params: Json,
        revision: Revision,
        session_id: &Arc<str>,
        request_id: &RequestId,
    ) -> Reply {
        self.dispatch.dispatch(Call {
            id: Uuid::now_v7(),
            principal: self.principal.clone(),
            view: self.view.clone(),
            method,
            params,
            deadline: Instant::now() + self.budget,
            parent: self.parent.clone(),
            client: ClientFacts {
                address: self.address,
                request_id: Some(request_id.to_string()),
                session_id: Some(session_id.clone()),
                ..ClientFacts::of(EdgeTransport::Http, revision)
            },
        })
    }
}

/// The calls that one request becomes.
#[derive(Clone)]
struct Calls {
    origin: Origin,
    session: Arc<Session>,
    revision: Revision,
    request: Request,
    method: Method,
    /// What the request is about, when that is a task.
    task: Option<TaskCall>,
}

/// One request that is being served.
struct Serving {
    calls: Calls,
    running: Running,
    exchange: Exchange,
    input_timeout: Duration,
}

/// The messages that answer one request.
pub(super) async fn serve(
    edge: &Edge,
    caller: &Caller,
    session: &Arc<Session>,
    request: Request,
) -> Result<Outgoing, Error> {
    let running = session.start(&request.id)?;
    let (method, params, task) = match session.step(&request) {
        Step::Answer(outcome) => return Ok(at_once(request.id, outcome)),
        Step::Subscribe(uri) => return Ok(at_once(request.id, session.subscribe(uri).await)),
        Step::Unsubscribe => return Ok(at_once(request.id, session.unsubscribe().await)),
        Step::Call { method, params } => (method, params, None),
        Step::Task(task) => {
            let params = session.with_state(|state| state.canonical_params(request.params.as_ref()));
            (request.method.clone(), params, Some(task))
        }
    };
    let origin = Origin::new(edge, caller, request.params.as_ref());
    let (session, revision) = (session.clone(), session.revision());
    let calls = Calls { origin, session, revision, request, method, task };
    let reply = calls.dispatch(params);
    let serving = Serving { calls, running, exchange: Exchange::default(), input_timeout: edge.config.input_timeout };
    Ok(Box::pin(serving.messages(reply)))
}

impl Calls {
    fn dispatch(&self, params: Json) -> Reply {
        match &self.task {
            Some(task) => task.reply(&params, self.dispatcher()),
            None => {
                let (method, session_id) = (self.method.clone(), self.session.id());
                self.origin.dispatch(method, params, self.revision, session_id, &self.request.id)
            }
        }
    }

    fn dispatcher(&self) -> Dispatcher {
        // Without the task, which may hold the dispatcher.
        let (origin, revision) = (self.origin.clone(), self.revision);
        let (session_id, id) = (self.session.id().clone(), self.request.id.clone());
        Arc::new(move |method, params| origin.dispatch(method, params, revision, &session_id, &id))
    }

    fn again(&self, retry: &Retry) -> Reply {
        let original = self.request.params.as_ref();
        self.dispatch(self.session.with_state(|state| state.retry_params(original, retry)))
    }
}

impl Serving {
    /// The same call, when its request may be gone.
    fn later(&self) -> Again {
        let calls = self.calls.clone();
        Box::new(move |retry| calls.again(retry))
    }

    /// What a notification of the call is to the client.
    fn pass(&mut self, event: Event) -> Result<Option<Bytes>, Outcome> {
        match event {
            Event::Progress(notification) => Ok(self.exchange.progress(self.calls.revision, notification)),
            Event::Notification(notification) => {
                Ok(era::notification(self.calls.revision, notification).map(|notification| notification.to_bytes()))
            }
            Event::Done(outcome) => Err(outcome),
        }
    }

    fn messages(mut self, mut reply: Reply) -> impl futures::Stream<Item = Out> + Send {
        async_stream::stream! {
            let outcome = loop {
                let event = tokio::select! {
                    biased;
                    () = self.running.cancelled() => break None,
                    event = reply.next() => event,
                };
                let outcome = match event.map(|event| self.pass(event)) {
                    Some(Ok(Some(message))) => {
                        yield Out::Notification(message);
                        continue;
                    }
                    Some(Ok(None)) => continue,
                    Some(Err(outcome)) => outcome,
                    None => break None,
                };
                if self.sees_through(&outcome) {
                    reply = self.calls.again(&Retry::default());
                    continue;
                }
                let required = match era::ending(&self.calls.method, self.calls.request.params.as_ref(), outcome) {
                    Ending::Answer(outcome) => break Some(outcome),
                    Ending::Input(required) => required,
                };
                // Whatever the finished call still holds is given back: the client may take its time.
                reply = Reply::new(futures::stream::empty());
                let later = self.later();
                let (mut asking, requests) = match Asking::begin(&self.calls.session, &mut self.exchange, required, later) {
                    Ok(begun) => begun,
                    Err(error) => break Some(Err(error)),
                };
                for request in requests {
                    yield Out::Notification(request);
                }
                let (reason, outcome) = match Box::pin(asking.wait(&self.running, self.input_timeout)).await {
                    Waited::Retry(retry) => {
                        reply = self.calls.again(&retry);
                        continue;
                    }
                    Waited::Cancelled => ("the request was cancelled", None),
                    Waited::Unanswered => ("not answered in time", Some(Err(Ending::unanswered(&self.calls.method)))),
                };
                for notification in asking.withdraw(reason) {
                    yield Out::Notification(notification);
                }
                break outcome;
            };
            drop(reply);
            let Serving { running, calls: Calls { request, .. }, .. } = self;
            // The client may use the id again once it has read the response.
            drop(running);
            if let Some(outcome) = outcome {
                yield Out::Response(StatusCode::OK, response(request.id, outcome));
            }
        }
    }

    /// True when the call was refused only because it must be a task: then it is made as one.
    fn sees_through(&mut self, outcome: &Outcome) -> bool {
        let calls = &mut self.calls;
        if calls.task.is_none() && outcome.is_err() {
            calls.task = calls.session.with_state(|state| state.through(&calls.method, outcome));
            return calls.task.is_some();
        }
        false
    }
}

/// The response. Errors of a session's requests are JSON-RPC errors under 200: a 404, for one, would end the session.
pub(super) fn response(id: RequestId, outcome: Outcome) -> Bytes {
    let outcome = outcome.map_err(|error| {
        note(&error);
        error.to_object()
    });
    Response { id: Some(id), outcome }.to_bytes()
}

/// A response that is there already.
pub(super) fn at_once(id: RequestId, outcome: Outcome) -> Outgoing {
    ready(response(id, outcome))
}

/// A message that is there already, and is all.
pub(super) fn ready(message: Bytes) -> Outgoing {
    Box::pin(futures::stream::once(std::future::ready(Out::Response(StatusCode::OK, message))))
}

#[cfg(test)]
mod tests;
