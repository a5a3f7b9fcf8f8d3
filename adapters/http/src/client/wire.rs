//! One server over HTTP: a POST per message, and its reply as a stream of events.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, StatusCode};
use reqwest::Response as HttpResponse;
use spanwire_era::upstream::{Calls, Discovery, Inbox, Unasked, Wire, WireRequest, judge};
use spanwire_mcp::{Era, Json, Message, Method, Notification, Request, RequestId, Response, Revision, codes, meta};
use spanwire_model::{Error, ErrorKind, Event, Outcome, Reply, Result, ServerId};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Config, Endpoint,
    body::{self, About, Messages},
    cancel::CancelOnDrop,
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
    params: ParamHeaders,
    pub stop: CancellationToken,
    unasked: mpsc::Sender<Unasked>,
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
        });
        (Arc::new(Self { inner, _stop_on_drop: stop.drop_guard() }), unasked_rx)
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

impl Inner {
    fn about(&self, method: &Method) -> About {
        About { server: self.server.as_str().into(), method: method.clone(), max_bytes: self.config.max_body_bytes }
    }

    async fn post(&self, request: &WireRequest) -> reqwest::Result<HttpResponse> {
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

    /// Posts a request and opens its reply. A lost session is renewed once.
    async fn open(&self, request: &WireRequest) -> Result<Messages> {
        let about = self.about(&request.method);
        let mut renewed = false;
        loop {
            let session = self.session.now();
            let response = match self.post(request).await {
                Ok(response) => response,
                Err(error) => {
                    let gone = about.not_sent(&error);
                    if gone.kind == ErrorKind::Unavailable {
                        let _ = self.unasked.try_send(Unasked::Closed(gone.public.to_string().into()));
                    }
                    return Err(gone);
                }
            };
            let lost = response.status() == StatusCode::NOT_FOUND
                && session.id.is_some()
                && request.revision.era() == Era::Legacy
                && request.method != Method::Initialize;
            if lost && renewed {
                let text = format!("server \"{}\" lost its session twice during {}", self.server, request.method);
                return Err(Error::new(ErrorKind::SessionGone, text));
            }
            if lost {
                self.renew(session.generation).await.map_err(|error| {
                    let text = format!("server \"{}\" lost its session and opened no other", self.server);
                    Error::new(ErrorKind::SessionGone, text).with_private(error)
                })?;
                renewed = true;
                continue;
            }
            if response.status().is_success() {
                return Ok(body::messages(response, about));
            }
            return Err(body::refusal(response, &about).await.0);
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

    /// The next event of a call: from its own stream, or from the session's.
    async fn next_event(&self, request: &WireRequest, messages: &mut Messages, inbox: &mut Inbox) -> Event {
        loop {
            let message = tokio::select! {
                biased;
                event = inbox.next() => return event,
                message = messages.next() => message,
            };
            let message = match message {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Event::Done(Err(error)),
                None => return Event::Done(Err(self.about(&request.method).ended())),
            };
            match message {
                Message::Response(response) => {
                    if let Some(outcome) = ours(request, response) {
                        return Event::Done(outcome.map(|result| self.learn(request, result)));
                    }
                }
                Message::Notification(notification) => {
                    if let Some(event) = self.notification(request, notification).await {
                        return event;
                    }
                }
                Message::Request(asked) => self.asked(asked, Some(request.id)).await,
            }
        }
    }

    /// Notes what a list says about the calls that will follow it.
    fn learn(&self, request: &WireRequest, result: Json) -> Json {
        if request.method == Method::ToolsList && request.revision.era() == Era::Modern {
            return self.params.learn(self.server.as_str(), result);
        }
        result
    }

    /// A notification on a call's own stream: about the call, unless it says otherwise.
    async fn notification(&self, request: &WireRequest, notification: Notification) -> Option<Event> {
        let listens = request.method == Method::Listen;
        match notification.method {
            Method::Progress if is_of(&notification, request.id) => return Some(Event::Progress(notification)),
            Method::Progress => {}
            Method::ToolsListChanged
            | Method::PromptsListChanged
            | Method::ResourcesListChanged
            | Method::ResourceUpdated
                if !listens => {}
            _ => return Some(Event::Notification(notification)),
        }
        self.unaddressed(notification).await;
        None
    }

    /// The response to a request of our own; what comes before it goes where it belongs.
    async fn response_in(&self, request: &WireRequest, messages: &mut Messages, about: &About) -> Outcome {
        while let Some(message) = messages.next().await {
            match message? {
                Message::Response(response) => {
                    if let Some(outcome) = ours(request, response) {
                        return outcome;
                    }
                }
                Message::Notification(notification) => self.unaddressed(notification).await,
                Message::Request(asked) => self.asked(asked, Some(request.id)).await,
            }
        }
        Err(about.ended())
    }

    /// Delivers a notification that came on no call's stream.
    pub(super) async fn unaddressed(&self, notification: Notification) {
        if let Some(notification) = self.calls.notify(notification) {
            let _ = self.unasked.send(Unasked::Notification(notification)).await;
        }
    }

    /// Delivers a request of the server, with the call on whose stream it came.
    pub(super) async fn asked(&self, request: Request, call: Option<i64>) {
        let _ = self.unasked.send(Unasked::Request { request, call }).await;
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

/// The outcome, when the response is to this request. An error without an id can only be about it.
fn ours(request: &WireRequest, response: Response) -> Option<Outcome> {
    match response.id {
        Some(RequestId::Number(id)) if id == request.id => {}
        None => {}
        Some(_) => return None,
    }
    Some(response.outcome.map_err(Error::from_server))
}

fn is_of(progress: &Notification, id: i64) -> bool {
    let token = progress.params.as_ref().and_then(|params| params.get(meta::PROGRESS_TOKEN)?.read::<i64>().ok());
    token == Some(id)
}
