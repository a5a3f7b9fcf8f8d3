//! What a transport must do: carry requests, bring back events.

use std::sync::Arc;

use async_trait::async_trait;
use spanwire_mcp::{Json, Method, Notification, Request, RequestId, Response, Revision, codes};
use spanwire_model::{Error, ErrorKind, Outcome, Reply, Result, TraceContext};

/// One request as it goes out: `params` are final, the wire only frames them.
#[derive(Debug, Clone)]
pub struct WireRequest {
    /// Our id, unique on the connection. It also is the progress token, where the caller gave one.
    pub id: i64,
    /// The revision that is spoken: what a header says.
    pub revision: Revision,
    /// The method.
    pub method: Method,
    /// The params: always an object.
    pub params: Json,
    /// Written to headers where the transport has them; it is in `params._meta` already.
    pub trace: Option<TraceContext>,
}

impl WireRequest {
    /// The JSON-RPC request.
    pub fn to_request(&self) -> Request {
        Request { id: RequestId::Number(self.id), method: self.method.clone(), params: Some(self.params.clone()) }
    }

    /// True when the server must not be told that it is no longer wanted (2025-11-25, basic/utilities/cancellation).
    pub fn is_uncancellable(&self) -> bool {
        self.method == Method::Initialize
    }
}

/// What a server sends that belongs to no call.
#[derive(Debug)]
pub enum Unasked {
    /// A notification.
    Notification(Notification),
    /// A request of a legacy server.
    Request {
        /// The request.
        request: Request,
        /// Our id of the call on whose own stream it came, so that it is about this call; `None` where the transport does not say.
        call: Option<i64>,
    },
    /// The wire has opened a new legacy session in place of a lost one: levels and subscriptions are gone.
    SessionRenewed,
    /// The connection is gone, and why: a phrase that begins with the server (`server "git" exited with status 1`).
    /// Always the last one.
    Closed(Arc<str>),
}

/// What the probe `server/discover` proved.
#[derive(Debug)]
pub enum Discovery {
    /// The server is modern: its result.
    Modern(Json),
    /// The server is modern but refused, for instance the revision.
    Refused(Error),
    /// The server is not modern, and what it said.
    NotModern(String),
    /// Nothing is proved: the server was not reached, or wants credentials.
    Unproved(Error),
}

/// One connection to a server.
///
/// Laws: `request` returns at once and does its work when the reply is polled; its events are raw (our token, the
/// server's own form); **dropping the reply cancels** in the manner of the transport; an outcome is
/// [`ErrorKind::Server`] exactly when the server answered with a JSON-RPC error; an error is `Unavailable` when nothing
/// was sent and `StreamLost` when something was. What comes unasked goes into the channel that was made with the wire,
/// and [`Unasked::Closed`] is the last of it. Dropping the wire ends the connection and leaves nothing behind.
#[async_trait]
pub trait Wire: Send + Sync + 'static {
    /// Sends a request.
    fn request(&self, request: WireRequest) -> Reply;

    /// Sends a notification.
    async fn notify(&self, revision: Revision, notification: Notification) -> Result<()>;

    /// Answers a request of the server.
    async fn respond(&self, revision: Revision, response: Response) -> Result<()>;

    /// Sends `server/discover` and says what the answer proves.
    async fn discover(&self, request: WireRequest) -> Discovery {
        judge(self.request(request).outcome().await)
    }

    /// True when silence on `server/discover` proves a legacy server, as it does on stdio.
    fn silence_is_legacy(&self) -> bool;

    /// True when a request of the server comes on the stream of the call that it belongs to, as a rule.
    fn says_whose(&self) -> bool {
        false
    }

    /// Ends the connection, politely at first and by force within a bounded time.
    async fn close(&self);
}

/// What the outcome of `server/discover` proves where the framing says nothing about it
/// (2026-07-28, basic/transports/stdio, "Backward Compatibility").
pub fn judge(outcome: Outcome) -> Discovery {
    match outcome {
        Ok(result) if result.get("supportedVersions").is_some() => Discovery::Modern(result),
        Ok(_) => Discovery::NotModern("the answer to server/discover lists no versions".into()),
        Err(error) if error.kind == ErrorKind::Server => match error.code {
            Some(code) if codes::is_modern(code) => Discovery::Refused(error),
            _ => Discovery::NotModern(error.public.into_owned()),
        },
        Err(error) => Discovery::Unproved(error),
    }
}
