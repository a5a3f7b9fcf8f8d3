//! One server over HTTP: a POST per message, and its reply as a stream of events.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use reqwest::Response as HttpResponse;
use spanwire_era::upstream::{Calls, Discovery, Unasked, Wire, WireRequest, judge};
use spanwire_mcp::{Era, Method, Notification, Response, Revision, codes};
use spanwire_model::{Error, ErrorKind, Event, Reply, Result, ServerId};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Config, Endpoint,
    body::{self, About},
    cancel::{CancelOnDrop, Tell},
    headers, notices,
    params::ParamHeaders,
    session::Session,
};

/// Messages that came unasked and wait to be looked at; the stream that has one more waits.
const MAX_UNASKED: usize = 256;
/// The id of requests that renew a session: ids of calls are positive.
const RENEWAL_ID: i64 = -1;

/// A server as a wire. Dropping it ends its session and its tasks.
pub(super) struct HttpWire {
    inner: Arc<Inner>,
    _stop_on_drop: DropGuard,
}

/// What the tasks and replies of one server share.
pub(super) struct Inner {
    pub server: ServerId,
    pub endpoint: Endpoint,
    pub config: Arc<Config>,
    pub session: Session,
    pub calls: Arc<Calls>,
    pub params: ParamHeaders,
    pub stop: CancellationToken,
    pub unasked: mpsc::Sender<Unasked>,
    /// The server knows no `initialize` here: it may have the transport of 2024-11-05 only.
    pub refused_greeting: AtomicBool,
}

impl HttpWire {
    pub(super) fn new(
        server: &ServerId,
        endpoint: Endpoint,
        config: Arc<Config>,
    ) -> (Arc<Self>, mpsc::Receiver<Unasked>) {
        let (unasked, unasked_rx) = mpsc::channel(MAX_UNASKED);
        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            server: server.clone(),
            endpoint,
            config,
            session: Session::default(),
            calls: Arc::default(),
            params: ParamHeaders::default(),
            stop: stop.clone(),
            unasked,
            refused_greeting: AtomicBool::new(false),
        });
        (Arc::new(Self { inner, _stop_on_drop: stop.drop_guard() }), unasked_rx)
    }
}

impl HttpWire {
    /// True when `initialize` was refused in the way of a server that does not have this transport.
    pub(super) fn was_refused(&self) -> bool {
        self.inner.refused_greeting.load(Ordering::Relaxed)
    }
}

impl Drop for HttpWire {
    fn drop(&mut self) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let inner = self.inner.clone();
            // Ends within the control time-out.
            runtime.spawn(async move { inner.end_session().await });
        }
    }
}

#[async_trait]
impl Wire for HttpWire {
    fn request(&self, request: WireRequest) -> Reply {
        let inner = self.inner.clone();
        Reply::new(async_stream::stream! {
            let mut inbox = match inner.calls.open(request.id, &request.method) {
                Ok(inbox) => inbox,
                Err(error) => {
                    yield Event::Done(Err(error));
                    return;
                }
            };
            let mut cancel = CancelOnDrop {
                inner: inner.clone(),
                id: request.id,
                revision: request.revision,
                armed: !request.is_uncancellable(),
            };
            let mut messages = match inner.open(&request).await {
                Ok(messages) => messages,
                Err(error) => {
                    cancel.armed = false;
                    yield Event::Done(Err(error));
                    return;
                }
            };
            loop {
                let event = inner.next_event(&request, &mut messages, &mut inbox).await;
                let last = matches!(event, Event::Done(_));
                cancel.armed &= !last;
                yield event;
                if last {
                    return;
                }
            }
        })
    }

    async fn notify(&self, revision: Revision, notification: Notification) -> Result<()> {
        let opens = notification.method == Method::Initialized;
        if opens {
            self.inner.session.agreed(revision);
        }
        self.inner.post_control(revision, notification.to_bytes(), &notification.method).await?;
        if opens {
            tokio::spawn(notices::listen(self.inner.clone()));
        }
        Ok(())
    }

    async fn respond(&self, revision: Revision, response: Response) -> Result<()> {
        let method = Method::Other("an answer to the server".into());
        self.inner.post_control(revision, response.to_bytes(), &method).await
    }

    /// 2026-07-28, basic/transports/streamable-http, "Backward Compatibility".
    async fn discover(&self, request: WireRequest) -> Discovery {
        let about = self.inner.about(&request.method);
        let response = match self.inner.post(&request).await {
            Ok(response) => response,
            Err(error) => return Discovery::Unproved(about.not_sent(&error)),
        };
        let status = response.status();
        if status.is_success() {
            let mut messages = body::messages(response, about.clone());
            return judge(self.inner.response_in(&request, &mut messages, &about).await);
        }
        let (error, object) = body::refusal(response, &about).await;
        match object {
            Some(object) if codes::is_modern(object.code) => Discovery::Refused(error),
            _ if proves_legacy(status) => Discovery::NotModern(error.public.into_owned()),
            _ => Discovery::Unproved(unproved(error, status, &self.inner.server)),
        }
    }

    fn silence_is_legacy(&self) -> bool {
        false
    }

    fn says_whose(&self) -> bool {
        true
    }

    async fn close(&self) {
        let inner = &self.inner;
        inner.stop.cancel();
        let reason: Arc<str> = format!("server \"{}\" was stopped", inner.server).into();
        inner.calls.close(&reason);
        let _ = inner.unasked.try_send(Unasked::Closed(reason));
        inner.end_session().await;
    }
}

/// True for a status with which a legacy server refuses what it does not know. Credentials, load and failures prove
/// nothing.
fn proves_legacy(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        )
}

/// A refusal that proves nothing never looks like an answer of the server's own.
fn unproved(error: Error, status: StatusCode, server: &ServerId) -> Error {
    if error.kind != ErrorKind::Server {
        return error;
    }
    let text = format!("server \"{server}\" answered with HTTP status {}: {}", status.as_u16(), error.public);
    Error::new(ErrorKind::BadServer, text)
}

impl Tell for Inner {
    fn server(&self) -> &ServerId {
        &self.server
    }

    async fn tell(&self, revision: Revision, body: Bytes, method: &Method) -> Result<()> {
        self.post_control(revision, body, method).await
    }
}

impl Inner {
    pub(super) fn about(&self, method: &Method) -> About {
        About { server: self.server.as_str().into(), method: method.clone(), max_bytes: self.config.max_body_bytes }
    }

    /// Posts a request with the headers that mirror it.
    pub(super) async fn post(&self, request: &WireRequest) -> reqwest::Result<HttpResponse> {
        let initialize = request.method == Method::Initialize;
        let session = self.session.now().id.filter(|_| !initialize && request.revision.era() == Era::Legacy);
        let revision = Some(request.revision).filter(|_| !initialize);
        let mut all = headers::of_post(&self.endpoint.headers, revision, session.as_ref());
        headers::mirror(&mut all, request);
        if request.method == Method::ToolsCall && request.revision.era() == Era::Modern {
            self.params.mirror(&mut all, &request.params);
        }
        let response = self.send(all, request.to_request().to_bytes()).await?;
        if initialize && response.status().is_success() {
            self.session.opened(response.headers(), &request.params);
        }
        Ok(response)
    }

    async fn send(&self, headers: HeaderMap, body: Bytes) -> reqwest::Result<HttpResponse> {
        self.endpoint.client.post(self.endpoint.url.clone()).headers(headers).body(body).send().await
    }

    /// Posts a message that has no answer.
    pub(super) async fn post_control(&self, revision: Revision, body: Bytes, method: &Method) -> Result<()> {
        let about = self.about(method);
        let session = self.session.now().id;
        let all = headers::of_post(&self.endpoint.headers, Some(revision), session.as_ref());
        match timeout(self.config.control_timeout, self.send(all, body)).await {
            Ok(Ok(response)) if response.status().is_success() => Ok(()),
            Ok(Ok(response)) => Err(body::refusal(response, &about).await.0),
            Ok(Err(error)) => Err(about.not_sent(&error)),
            Err(_) => {
                Err(Error::new(ErrorKind::StreamLost, format!("server \"{}\" did not take {method}", self.server)))
            }
        }
    }

    /// Opens another session in place of the one of this generation.
    pub(super) async fn renew(&self, generation: u64) -> Result<()> {
        let _one_at_a_time = self.session.renewing.lock().await;
        let session = self.session.now();
        let (Some(params), Some(revision)) = (session.greeting, session.revision) else {
            return Err(Error::new(ErrorKind::SessionGone, "no session was open"));
        };
        if session.generation != generation {
            return Ok(());
        }
        let request = WireRequest { id: RENEWAL_ID, revision, method: Method::Initialize, params, trace: None };
        let about = self.about(&request.method);
        let handshake = async {
            let response = self.post(&request).await.map_err(|error| about.not_sent(&error))?;
            if !response.status().is_success() {
                return Err(body::refusal(response, &about).await.0);
            }
            let mut messages = body::messages(response, about.clone());
            self.response_in(&request, &mut messages, &about).await
        };
        let late = || Error::new(ErrorKind::Unavailable, format!("server \"{}\" opened no session", self.server));
        timeout(self.config.control_timeout, handshake).await.map_err(|_| late())??;
        let initialized = Notification { method: Method::Initialized, params: None };
        self.post_control(revision, initialized.to_bytes(), &initialized.method).await?;
        let _ = self.unasked.send(Unasked::SessionRenewed).await;
        Ok(())
    }

    /// Ends the session, if there is one; a server may not allow it.
    async fn end_session(&self) {
        let session = self.session.take();
        let Some(id) = session.id else { return };
        let all = headers::of_session(&self.endpoint.headers, session.revision, Some(&id));
        let sent = self.endpoint.client.delete(self.endpoint.url.clone()).headers(all).send();
        let _ = timeout(self.config.control_timeout, sent).await;
    }
}
