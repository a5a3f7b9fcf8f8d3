//! One call: its POST, and what comes back on its own stream or on the session's.

use std::sync::{Arc, atomic::Ordering};

use futures::StreamExt;
use http::StatusCode;
use spanwire_era::upstream::{Inbox, Unasked, WireRequest};
use spanwire_mcp::{Era, Json, Message, Method, Notification, Request, RequestId, Response, codes, meta};
use spanwire_model::{Error, ErrorKind, Event, Outcome, Result};

use super::{
    body::{self, About, Messages},
    resume,
    wire::Inner,
};

impl Inner {
    /// Posts a request and opens its reply. A lost session is renewed once.
    pub(super) async fn open(self: &Arc<Self>, request: &WireRequest) -> Result<Messages> {
        let about = self.about(&request.method);
        let (mut renewed, mut relisted) = (false, false);
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
            if resume::is_possible(request, &response) {
                return Ok(resume::messages(self.clone(), response, about));
            }
            if response.status().is_success() {
                return Ok(body::messages(response, about));
            }
            let status = response.status();
            let (error, object) = body::refusal(response, &about).await;
            if request.method == Method::Initialize && lacks_transport(status) {
                self.refused_greeting.store(true, Ordering::Relaxed);
            }
            let mismatch = object.is_some_and(|object| object.code == codes::HEADER_MISMATCH);
            if mismatch && !relisted && self.relist(request).await {
                // Nothing was executed.
                relisted = true;
                continue;
            }
            return Err(error);
        }
    }

    /// The next event of a call: from its own stream, or from the session's.
    pub(super) async fn next_event(&self, request: &WireRequest, messages: &mut Messages, inbox: &mut Inbox) -> Event {
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
            | Method::TaskStatus
            | Method::LegacyTaskStatus
                if !listens => {}
            _ => return Some(Event::Notification(notification)),
        }
        self.unaddressed(notification).await;
        None
    }

    /// The response to a request of our own; what comes before it goes where it belongs.
    pub(super) async fn response_in(&self, request: &WireRequest, messages: &mut Messages, about: &About) -> Outcome {
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
}

/// True for a status with which a server refuses a POST that has only the transport of 2024-11-05 (2025-11-25,
/// basic/transports, "Backwards Compatibility").
fn lacks_transport(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
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
