//! Takes what a server says unasked to whom it concerns.

use std::sync::Arc;

use spanwire_mcp::{Era, Method, Notification, Request};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    desk::Desk, interactive::at, level::Level, line::Line, listeners::Listeners, notices::Board, tasks::Tasks,
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
    pub tasks: Arc<Tasks>,
    pub desk: Arc<Desk>,
    pub stop: CancellationToken,
}

impl Pump {
    /// Runs until the connection is gone or stopped.
    pub(super) async fn run(self, mut unasked: mpsc::Receiver<Unasked>) {
        // Only this task adds to what is due.
        let mut due = None;
        let reason = loop {
            let item = tokio::select! {
                item = unasked.recv() => item,
                () = self.stop.cancelled() => break None,
                () = at(due) => {
                    self.desk.overdue();
                    due = self.desk.due();
                    continue;
                }
            };
            match item {
                Some(Unasked::Notification(notification)) => self.notification(&notification),
                Some(Unasked::Request { request, call }) => {
                    if let Some(request) = self.tasks.request(request, call) {
                        self.request(request, call);
                        due = self.desk.due();
                    }
                }
                Some(Unasked::SessionRenewed) => {
                    self.level.forget();
                    self.desk.forgotten();
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
        self.desk.close(&reason);
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
                if !id.is_some_and(|id| self.tasks.withdrawn(&id)) {
                    self.desk.withdraw(notification);
                }
            }
            Method::LogMessage => log(&self.line.server, notification),
            Method::ElicitationComplete => self.desk.completed(notification),
            method => tracing::debug!(server = %self.line.server, %method, "notification that belongs to no call"),
        }
    }

    fn request(&self, request: Request, call: Option<i64>) {
        match self.line.revision().era() {
            // 2026-07-28, basic/transports/stdio: a client must not write responses.
            Era::Modern => {
                tracing::warn!(server = %self.line.server, method = %request.method, "a modern server sent a request");
            }
            Era::Legacy => self.desk.asked(request, call),
        }
    }
}

/// A log message that no call asked for goes into the node's own log.
pub(super) fn log(server: &str, notification: &Notification) {
    let text = notification.params.as_ref().map_or("", |params| params.as_str());
    let end = (0..=text.len().min(MAX_LOGGED)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    tracing::debug!(target: "spanwire::server", server, "{}", text.get(..end).unwrap_or_default());
}
