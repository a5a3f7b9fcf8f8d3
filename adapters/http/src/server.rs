//! The client edge: MCP over Streamable HTTP, for every revision that has it.
//!
//! One endpoint serves both eras. A modern request (2026-07-28) is checked, becomes a [`spanwire_model::Call`] and its
//! [`spanwire_model::Reply`] becomes JSON or server-sent events; nothing is kept between two requests. A legacy client
//! (2025-03-26 to 2025-11-25) opens a session, which [`spanwire_era::session`] translates; one of 2024-11-05 does so over
//! the transport of its time.
//!
//! Sources: 2026-07-28 basic/transports/streamable-http, basic/versioning; 2025-11-25 basic/transports.

mod agreement;
mod answer;
mod config;
mod connections;
mod cors;
mod gate;
mod legacy;
mod modern;
mod opening;
mod post;
mod refusal;
mod relay;
mod sse2024;
mod streams;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, Request, State},
    response::Response,
    routing::any,
};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, request::Parts};
use spanwire_mcp::Meta;
use spanwire_model::{Dispatch, EraChoice, Error, ErrorKind, Principal, Relayed, TraceContext, Verb};

pub use self::{
    config::{Config, ConnectionLimits, SessionPlaces},
    connections::serve,
    relay::Cluster,
};
use self::{refusal::Refusal, streams::Streams};

/// Says who calls.
///
/// Laws: cheap (called on every request, without waiting); an absent header is judged too, since a node may allow
/// anonymous callers; the error is [`ErrorKind::Unauthenticated`] (answered with 401) or [`ErrorKind::Denied`] (403)
/// and never repeats the credentials.
pub trait Authenticate: Send + Sync + 'static {
    /// The caller behind an `Authorization` header.
    fn authenticate(&self, authorization: Option<&str>) -> Result<Principal, Error>;
}

/// The address of the peer, put into each request's extensions by [`serve`].
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// What every request shares.
pub(crate) struct Edge {
    config: Config,
    dispatch: Arc<dyn Dispatch>,
    auth: Arc<dyn Authenticate>,
    streams: Streams,
    sessions: legacy::Sessions,
    pipes: sse2024::Pipes,
    cluster: Option<Cluster>,
}

/// Who calls, and through what, once the gate has let it pass.
pub(crate) struct Caller {
    principal: Principal,
    view: Option<Arc<str>>,
    address: Option<SocketAddr>,
    headers: HeaderMap,
    /// What may be spoken through this door.
    era: EraChoice,
    /// Set when another node passed the request on: the hop's position in the client's trace.
    hop: Option<Option<TraceContext>>,
}

impl Caller {
    /// The caller's position in its trace, behind the last hop: the message's own wins over the header.
    fn parent(&self, meta: &Meta<'_>) -> Option<TraceContext> {
        match &self.hop {
            Some(hop) => hop.clone(),
            None => modern::parent(meta, &self.headers),
        }
    }
}

/// The edge of a node that stands alone: see [`clustered`].
pub fn router(config: Config, dispatch: Arc<dyn Dispatch>, auth: Arc<dyn Authenticate>) -> Router {
    routes(edge(config, dispatch, auth, None))
}

/// The routes `/mcp` (the federated view) and `/mcp/{view}`, for the transport of 2024-11-05 `/sse` and `/sse/{view}`, and the sessions
/// behind them as other nodes reach them. Sessions end when both are dropped.
pub fn clustered(
    config: Config,
    dispatch: Arc<dyn Dispatch>,
    auth: Arc<dyn Authenticate>,
    cluster: Cluster,
) -> (Router, Arc<dyn Relayed>) {
    let edge = edge(config, dispatch, auth, Some(cluster));
    (routes(edge.clone()), Arc::new(relay::Sessions(edge)))
}

fn edge(
    config: Config,
    dispatch: Arc<dyn Dispatch>,
    auth: Arc<dyn Authenticate>,
    cluster: Option<Cluster>,
) -> Arc<Edge> {
    let node = cluster.as_ref().map(|cluster| cluster.node.clone());
    let sessions = legacy::Sessions::new(&config, node, dispatch.clone());
    let (streams, pipes) = (Streams::new(config.max_listen_streams), sse2024::Pipes::new(&config));
    Arc::new(Edge { config, dispatch, auth, streams, sessions, pipes, cluster })
}

fn routes(edge: Arc<Edge>) -> Router {
    Router::new()
        .route("/mcp", any(federated))
        .route("/mcp/{view}", any(named))
        .route("/sse", any(federated_sse))
        .route("/sse/{view}", any(named_sse))
        .with_state(edge)
}

async fn federated(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let page = cors::Page::of(&edge, &request);
    page.answered(handle(edge, None, request)).await
}

async fn named(State(edge): State<Arc<Edge>>, Path(view): Path<String>, request: Request) -> Response {
    let page = cors::Page::of(&edge, &request);
    page.answered(handle(edge, Some(view.into()), request)).await
}

async fn federated_sse(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let page = cors::Page::of(&edge, &request);
    page.answered(handle_sse(edge, None, request)).await
}

async fn named_sse(State(edge): State<Arc<Edge>>, Path(view): Path<String>, request: Request) -> Response {
    let page = cors::Page::of(&edge, &request);
    page.answered(handle_sse(edge, Some(view.into()), request)).await
}

async fn handle(edge: Arc<Edge>, view: Option<Arc<str>>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    gate::origin(&edge.config, &parts.headers)?;
    gate::host(&edge.config, &parts)?;
    let method = parts.method.clone();
    if cors::is_preflight(&method, &parts.headers) {
        return Ok(cors::preflight(&parts.headers));
    }
    let has_session = parts.headers.contains_key(spanwire_mcp::header::SESSION_ID);
    if method == Method::POST {
        gate::content_type(&parts.headers)?;
        gate::accept(&parts.headers, &[gate::JSON, gate::SSE])?;
    } else if method == Method::GET && has_session {
        gate::accept(&parts.headers, &[gate::SSE])?;
    }
    let caller = admit(&edge, view, parts)?;
    if method == Method::POST {
        return post::post(edge, caller, body).await;
    }
    if edge.config.era == EraChoice::Modern {
        return Err(Refusal::method_not_allowed(&method));
    }
    if method == Method::GET {
        // Whoever has no session and asks for a stream by name knows only the transport of 2024-11-05
        // (2025-11-25, basic/transports, "Backwards Compatibility").
        if !has_session && gate::names(&caller.headers, gate::SSE) {
            return sse2024::open(&edge, caller);
        }
        match relay::elsewhere(&edge, &caller)? {
            Some(session) => relayed(&edge, &caller, session, Verb::Get).await,
            None => legacy::get(&edge, &caller),
        }
    } else if method == Method::DELETE {
        match relay::elsewhere(&edge, &caller)? {
            Some(session) => relayed(&edge, &caller, session, Verb::Delete).await,
            None => legacy::delete(&edge, &caller),
        }
    } else {
        Err(Refusal::method_not_allowed(&method))
    }
}

/// The transport of 2024-11-05. A POST without an id is refused so that a client that tries Streamable HTTP first goes on with GET.
async fn handle_sse(edge: Arc<Edge>, view: Option<Arc<str>>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    gate::origin(&edge.config, &parts.headers)?;
    gate::host(&edge.config, &parts)?;
    if edge.config.era == EraChoice::Modern {
        let error = Error::new(ErrorKind::InvalidRequest, "the transport of 2024-11-05 is not served here");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error));
    }
    let (method, uri) = (parts.method.clone(), parts.uri.clone());
    if cors::is_preflight(&method, &parts.headers) {
        return Ok(cors::preflight(&parts.headers));
    }
    let id = sse2024::id_of(uri.query());
    if method == Method::GET {
        gate::accept(&parts.headers, &[gate::SSE])?;
    } else if method == Method::POST && id.is_some() {
        gate::content_type(&parts.headers)?;
    } else {
        return Err(Refusal::stream_only(&method));
    }
    let caller = admit(&edge, view, parts)?;
    match id.filter(|_| method == Method::POST) {
        Some(id) => sse2024::post(edge, caller, id, body).await,
        None => sse2024::open(&edge, caller),
    }
}

/// Who calls, and through a view that is there.
fn admit(edge: &Edge, view: Option<Arc<str>>, parts: Parts) -> Result<Caller, Refusal> {
    let principal = gate::authenticate(&*edge.auth, &parts.headers)?;
    let address = parts.extensions.get::<PeerAddress>().map(|peer| peer.0);
    let caller = Caller { principal, view, address, headers: parts.headers, era: edge.config.era, hop: None };
    gate::view(&*edge.dispatch, &caller)?;
    Ok(caller)
}

async fn relayed(edge: &Edge, caller: &Caller, session: relay::Elsewhere, verb: Verb) -> Result<Response, Refusal> {
    let parent = caller.parent(&Meta::default());
    session.ask(edge, caller, verb, Bytes::new(), false, parent).await
}
