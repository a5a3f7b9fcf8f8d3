//! Takes what a server says unasked to whom it concerns.

use std::sync::Arc;

use spanwire_mcp::{Method, Notification, Request, Response};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    legacy::Level,
    line::Line,
    listeners::Listeners,
    notices::Board,
    requests::{MAX_REQUESTS, ServerRequests},
    tasks::Tasks,
    wire::Unasked,
};

/// Longest part of a log message that goes into the node's own log, in bytes.
const MAX_LOGGED: usize = 2048;

/// One per connection. It never waits for the server, so that the wire's reader never waits for it.
pub(super) struct Pump {
    pub line: Arc<Line>,
    pub board: Arc<Board>,
    pub listeners: Arc<Listeners>,
    pub level: Arc<Level>,
    pub requests: Arc<dyn ServerRequests>,
    pub tasks: Arc<Tasks>,
    pub stop: CancellationToken,
}

impl Pump {
    /// Runs until the connection is gone or stopped.
    pub(super) async fn run(self, mut unasked: mpsc::Receiver<Unasked>) {
        let room = Arc::new(Semaphore::new(MAX_REQUESTS));
        let reason = loop {
            let item = tokio::select! {
                item = unasked.recv() => item,
                () = self.stop.cancelled() => break None,
            };
            match item {
                Some(Unasked::Notification(notification)) => self.notification(&notification),
                Some(Unasked::Request { request, call }) => {
                    if let Some(request) = self.tasks.request(request, call) {
                        self.request(request, &room);
                    }
                }
                Some(Unasked::SessionRenewed) => {
                    self.level.forget();
                    self.listeners.forgotten();
                    self.tasks.forgotten();
                    self.board.all_changed();
                }
                Some(Unasked::Closed(reason)) => break Some(reason),
                None => break None,
            }
        };
        let reason = reason.unwrap_or_else(|| format!("server \"{}\" was stopped", self.line.server).into());
        self.listeners.close(&reason);
        self.board.closed(reason);
        self.stop.cancel();
    }

    fn notification(&self, notification: &Notification) {
        self.board.changed(&notification.method);
        match &notification.method {
            Method::ToolsListChanged
            | Method::PromptsListChanged
            | Method::ResourcesListChanged
            | Method::ResourceUpdated
            | Method::LegacyTaskStatus => self.listeners.fan_out(notification),
            Method::Cancelled => {
                let id = notification.params.as_ref().and_then(|params| params.get("requestId")?.read().ok());
                let _ = id.is_some_and(|id| self.tasks.withdrawn(&id));
            }
            Method::LogMessage => log(&self.line.server, notification),
            method => tracing::debug!(server = %self.line.server, %method, "notification that belongs to no call"),
        }
    }

    fn request(&self, request: Request, room: &Arc<Semaphore>) {
        let revision = self.line.revision();
        if revision.era() == spanwire_mcp::Era::Modern {
            // 2026-07-28, basic/transports/stdio: a client must not write responses.
            tracing::warn!(server = %self.line.server, method = %request.method, "a modern server sent a request");
            return;
        }
        let Ok(permit) = room.clone().try_acquire_owned() else {
            tracing::warn!(server = %self.line.server, method = %request.method, "too many requests of the server wait");
            return;
        };
        let (line, requests, stop) = (self.line.clone(), self.requests.clone(), self.stop.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let id = request.id.clone();
            let answered = async {
                let outcome = requests.answer(request).await;
                line.wire.respond(revision, Response { id: Some(id), outcome }).await
            };
            tokio::select! {
                sent = answered => if let Err(error) = sent {
                    tracing::debug!(server = %line.server, %error, "an answer could not be sent");
                },
                () = stop.cancelled() => {}
            }
        });
    }
}

/// A log message that no call asked for goes into the node's own log.
pub(super) fn log(server: &str, notification: &Notification) {
    let text = notification.params.as_ref().map_or("", |params| params.as_str());
    let end = (0..=text.len().min(MAX_LOGGED)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    tracing::debug!(target: "spanwire::server", server, "{}", text.get(..end).unwrap_or_default());
}
