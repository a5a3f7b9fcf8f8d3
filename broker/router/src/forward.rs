//! Sends a permitted call to its server: directly when it is attached here, over the backbone when it is not, and to another replica when
//! one says that it has executed nothing.
//!
//! A call is tried again only after an answer that says so, before anything else came of it, and at each replica once, or once after each
//! pause while it is held. Whenever its outcome is unknown, that is its outcome.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_stream::stream;
use futures::StreamExt;
use spanwire_catalog::expose_uris;
use spanwire_mcp::Method;
use spanwire_model::{Error, ErrorKind, Event, NodeId, Outcome, Reply, Route, ServerId, TraceContext};
use spanwire_policy::Permitted;
use spanwire_telemetry::{Span, SpanKind, names};

use crate::{
    Inner,
    remote::{Attempt, remote},
    sealed,
    search::{Search, Target},
};

/// A call that may be forwarded.
pub(crate) struct Forward {
    pub(crate) permitted: Permitted,
    /// The name that the caller used, for spans.
    pub(crate) exposed: Option<Arc<str>>,
    /// URIs in what comes back become exposed ones.
    pub(crate) rewrite_uris: bool,
    /// What the call brings back to where it began.
    pub(crate) back: Option<Back>,
    /// Where the time goes that is not the broker's own.
    pub(crate) elsewhere: Elsewhere,
}

/// A sealed text that a call brings back, and where that leads.
pub(crate) struct Back {
    /// The text.
    pub(crate) text: Arc<str>,
    /// The node that gets the call first; `None` when any node is as good.
    pub(crate) node: Option<NodeId>,
    /// No other node can go on with it.
    pub(crate) is_bound: bool,
}

/// Time of a call that was spent waiting for a slot, on the wire or in the server. What is left of the whole is what the broker added.
#[derive(Debug, Clone, Default)]
pub(crate) struct Elsewhere(Arc<AtomicU64>);

impl Elsewhere {
    pub(crate) fn add(&self, spent: Duration) {
        self.0.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// Sends a call to its server, under a span of its own for the decision.
pub(crate) fn forward(inner: &Arc<Inner>, forward: Forward) -> Reply {
    let Forward { permitted, rewrite_uris, back, elsewhere, .. } = forward;
    let (method, server) = (permitted.call().method.clone(), permitted.route().server.clone());
    let mut span = inner.telemetry.tracer().start(SpanKind::Internal, "route", permitted.call().parent.as_ref());
    if span.is_recording() {
        span.set_text(names::SPANWIRE_SERVER, server.as_str());
    }
    let (inner, context) = (inner.clone(), span.context());
    Reply::new(stream! {
        let mut search = Search::new(permitted.call(), permitted.route(), back.as_ref());
        let mut held = Duration::ZERO;
        let mut outcome = loop {
            let Some(target) = search.next(&inner) else {
                match search.wait(&inner).await {
                    Some(waited) => {
                        held += waited;
                        span.set_ms(names::SPANWIRE_HELD_MS, held);
                        elsewhere.add(waited);
                        continue;
                    }
                    None => break Err(nobody(&mut span, &mut search, permitted.route())),
                }
            };
            describe(&mut span, &inner, &search, &target);
            let mut reply = begin(&inner, &permitted, back.as_ref(), &search, &target, &context, &elsewhere);
            let mut heard = false;
            let outcome = loop {
                match reply.next().await {
                    Some(Event::Done(outcome)) => break begun(outcome, heard, &method),
                    Some(event) => {
                        heard = true;
                        yield event;
                    }
                    None => break Err(Error::new(ErrorKind::Internal, "a reply ended without an outcome")),
                }
            };
            drop(reply);
            match outcome {
                Err(error) if !heard && nothing_executed(&error) && search.may_go_on() => {
                    inner.telemetry.metrics().call_retried(error.kind_name());
                    search.failed(error);
                }
                outcome => break outcome,
            }
        };
        if let Err(error) = &outcome {
            span.fail(error);
        }
        span.end();
        if rewrite_uris {
            outcome = expose(&method, &server, outcome);
        }
        yield Event::Done(outcome);
    })
}

/// One attempt.
fn begin(
    inner: &Arc<Inner>,
    permitted: &Permitted,
    back: Option<&Back>,
    search: &Search,
    target: &Target,
    parent: &TraceContext,
    elsewhere: &Elsewhere,
) -> Reply {
    match target {
        Target::Here => {
            sealed::local(inner, permitted, back.map(|back| &*back.text), parent.clone(), elsewhere.clone())
        }
        Target::There(replica) => {
            let attempt = Attempt {
                node: replica.node.clone(),
                standing: replica.standing,
                number: search.attempts(),
                is_bound: search.is_bound(),
            };
            remote(inner, permitted, attempt, parent, elsewhere.clone())
        }
    }
}

fn describe(span: &mut Span, inner: &Inner, search: &Search, target: &Target) {
    if !span.is_recording() {
        return;
    }
    let (route, node) = match target {
        Target::Here => ("local", &inner.config.node),
        Target::There(replica) => ("backbone", &replica.node),
    };
    span.set(names::SPANWIRE_ROUTE, route);
    span.set_text(names::SPANWIRE_REPLICA, node.as_str());
    span.set(names::SPANWIRE_ATTEMPT, i64::from(search.attempts()));
}

/// The error when no replica is left: what the last one said, if any was asked.
fn nobody(span: &mut Span, search: &mut Search, route: &Route) -> Error {
    if search.attempts() == 0 {
        span.set(names::SPANWIRE_ROUTE, "nowhere");
    }
    search.last_error().unwrap_or_else(|| not_connected(route))
}

/// True when an error says that nothing was executed. One with data of its own is the word of a server, which may know less.
pub(crate) fn nothing_executed(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Overloaded) && error.data.is_none()
}

/// An outcome, honest about what came before it: when anything was heard of a call, it was executed, in part at least.
fn begun(outcome: Outcome, heard: bool, method: &Method) -> Outcome {
    match outcome {
        Err(error) if heard && *method != Method::Listen && nothing_executed(&error) => {
            let text = format!("the reply broke off: {}", error.public);
            Err(Error::new(ErrorKind::StreamLost, text).with_private(error.private.unwrap_or_default()))
        }
        outcome => outcome,
    }
}

/// An outcome with the server's own URIs as this node exposes them, also the one of a resource that is not there.
fn expose(method: &Method, server: &ServerId, outcome: Outcome) -> Outcome {
    match outcome {
        Ok(result) => Ok(expose_uris(method, server, &result)),
        Err(mut error) => {
            error.data = error.data.map(|data| expose_uris(&Method::ResourceUpdated, server, &data));
            Err(error)
        }
    }
}

pub(crate) fn not_connected(route: &Route) -> Error {
    Error::new(ErrorKind::Unavailable, format!("server \"{}\" is not connected at the moment", route.server))
}
