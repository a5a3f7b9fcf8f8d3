//! One connection over a child's stdin and stdout: a reader task, a writer task, and the calls between them.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use spanwire_era::upstream::{Calls, Inbox, Unasked, Wire, WireRequest};
use spanwire_mcp::{Limits, Message, Method, Notification, RequestId, Response, Revision, join_lines};
use spanwire_model::{Error, ErrorKind, Event, Reply, Result, ServerId};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    connector::Config,
    framing::{Line, Lines, id_in},
    process::Running,
    stderr::{self, LastLine},
};

/// Messages that wait to be written; whoever has one more waits.
const MAX_UNWRITTEN: usize = 64;
/// Messages that came unasked and wait to be looked at; the reader waits with the next one.
const MAX_UNASKED: usize = 256;
/// How long after the end of stdout the exit status is waited for, to be able to name it.
const STATUS_WITHIN: Duration = Duration::from_secs(1);
/// Longest part of a line that is no message which is logged, in characters.
const MAX_LOGGED: usize = 200;

/// A child as a wire. Dropping it ends the child.
pub(crate) struct StdioWire {
    server: ServerId,
    calls: Arc<Calls>,
    out: mpsc::Sender<Bytes>,
    exit: watch::Receiver<Option<Arc<str>>>,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl StdioWire {
    /// Starts the tasks of a connection.
    pub(crate) fn over(child: Running, server: &ServerId, config: &Config) -> (Arc<Self>, mpsc::Receiver<Unasked>) {
        let Running { stdin, stdout, stderr, exit, stop } = child;
        let (out, unwritten) = mpsc::channel(MAX_UNWRITTEN);
        let (unasked_tx, unasked) = mpsc::channel(MAX_UNASKED);
        let calls = Arc::new(Calls::default());
        let last_line = LastLine::default();
        tokio::spawn(stderr::log(stderr, server.as_str().into(), last_line.clone()));
        tokio::spawn(write_all(stdin, unwritten, stop.clone()));
        let reader = Reader {
            server: server.clone(),
            calls: calls.clone(),
            unasked: unasked_tx,
            exit: exit.clone(),
            stop: stop.clone(),
            last_line,
            limits: Limits { max_bytes: config.max_line_bytes, ..Limits::default() },
        };
        tokio::spawn(reader.run(stdout));
        let _stop_on_drop = stop.clone().drop_guard();
        (Arc::new(Self { server: server.clone(), calls, out, exit, stop, _stop_on_drop }), unasked)
    }

    async fn write(&self, message: Bytes) -> Result<()> {
        self.out.send(message).await.map_err(|_| gone(&self.server, &self.calls))
    }
}

#[async_trait]
impl Wire for StdioWire {
    fn request(&self, request: WireRequest) -> Reply {
        let (calls, out, server) = (self.calls.clone(), self.out.clone(), self.server.clone());
        Reply::new(async_stream::stream! {
            let inbox = match calls.open(request.id, &request.method) {
                Ok(inbox) => inbox,
                Err(error) => {
                    yield Event::Done(Err(error));
                    return;
                }
            };
            if out.send(request.to_request().to_bytes()).await.is_err() {
                yield Event::Done(Err(gone(&server, &calls)));
                return;
            }
            // From here on the server knows of it: leaving early must be said.
            let mut sent = Sent { inbox, out, id: request.id, cancellable: !request.is_uncancellable() };
            loop {
                let event = sent.inbox.next().await;
                let last = matches!(event, Event::Done(_));
                yield event;
                if last {
                    return;
                }
            }
        })
    }

    async fn notify(&self, _: Revision, notification: Notification) -> Result<()> {
        self.write(notification.to_bytes()).await
    }

    async fn respond(&self, _: Revision, response: Response) -> Result<()> {
        self.write(response.to_bytes()).await
    }

    fn silence_is_legacy(&self) -> bool {
        true
    }

    async fn close(&self) {
        self.stop.cancel();
        // Bounded: the supervisor kills within twice the grace and a margin.
        let _ = self.exit.clone().wait_for(Option::is_some).await;
    }
}

/// Nothing was sent, because nobody is there to take it.
fn gone(server: &ServerId, calls: &Calls) -> Error {
    let reason = calls.closed().unwrap_or_else(|| format!("server \"{server}\" is gone").into());
    Error::new(ErrorKind::Unavailable, reason.to_string())
}

/// A request that the server knows of. Dropping it before the response cancels it there.
struct Sent {
    inbox: Inbox,
    out: mpsc::Sender<Bytes>,
    id: i64,
    cancellable: bool,
}

impl Drop for Sent {
    fn drop(&mut self) {
        if self.inbox.is_done() || !self.cancellable {
            return;
        }
        let cancelled = Notification {
            method: Method::Cancelled,
            params: Some(spanwire_mcp::Json::from_trusted(format!("{{\"requestId\":{}}}", self.id))),
        };
        let message = cancelled.to_bytes();
        if let Err(mpsc::error::TrySendError::Full(message)) = self.out.try_send(message) {
            let out = self.out.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                // Ends with the writer at the latest.
                runtime.spawn(async move { out.send(message).await });
            }
        }
    }
}

/// Writes one message a line, until stopped or the pipe breaks; then stdin is closed.
async fn write_all(mut to: impl AsyncWrite + Unpin, mut from: mpsc::Receiver<Bytes>, stop: CancellationToken) {
    loop {
        let message = tokio::select! {
            message = from.recv() => message,
            () = stop.cancelled() => return,
        };
        let Some(message) = message else { return };
        let line = one_line(&message);
        let written = async {
            to.write_all(&line).await?;
            to.flush().await
        };
        tokio::select! {
            result = written => if result.is_err() { break },
            () = stop.cancelled() => return,
        }
    }
    // Nothing reaches the server any more. Most likely it has ended, and the reader is about to find out how.
    let _ = timeout(STATUS_WITHIN, stop.cancelled()).await;
    stop.cancel();
}

/// The message with its newline.
fn one_line(message: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(message.len() + 1);
    line.put_slice(message);
    join_lines(&mut line);
    line.put_u8(b'\n');
    line.freeze()
}

struct Reader {
    server: ServerId,
    calls: Arc<Calls>,
    unasked: mpsc::Sender<Unasked>,
    exit: watch::Receiver<Option<Arc<str>>>,
    stop: CancellationToken,
    last_line: LastLine,
    limits: Limits,
}

impl Reader {
    async fn run(mut self, from: impl AsyncRead + Unpin) {
        let mut lines = Lines::new(from, self.limits.max_bytes);
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = self.stop.cancelled() => break,
            };
            match line {
                Ok(Some(Line::Whole(line))) => self.line(&line).await,
                Ok(Some(Line::TooLong { head, tail })) => self.too_long(&head, &tail),
                Ok(None) | Err(_) => break,
            }
        }
        let reason: Arc<str> = self.reason().await.into();
        tracing::debug!(server = %self.server, %reason, last_stderr_line = self.last_line.get(), "connection closed");
        self.calls.close(&reason);
        let _ = self.unasked.send(Unasked::Closed(reason)).await;
        self.stop.cancel();
    }

    /// Why the connection is gone.
    async fn reason(&mut self) -> String {
        let server = &self.server;
        if self.stop.is_cancelled() {
            return format!("server \"{server}\" was stopped");
        }
        match timeout(STATUS_WITHIN, self.exit.wait_for(Option::is_some)).await {
            Ok(Ok(phrase)) => format!("server \"{server}\" {}", phrase.as_deref().unwrap_or("is gone")),
            _ => format!("server \"{server}\" closed stdout"),
        }
    }

    async fn line(&self, line: &Bytes) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        // Batches belong to 2025-03-26; whoever sends one means it.
        match Message::parse(line, &self.limits, true) {
            Ok(spanwire_mcp::Parsed::Single(message)) => self.message(message).await,
            Ok(spanwire_mcp::Parsed::Batch(messages)) => {
                for message in messages {
                    match message {
                        Ok(message) => self.message(message).await,
                        Err(error) => self.bad(line, &error),
                    }
                }
            }
            Err(error) => self.bad(line, &error),
        }
    }

    async fn message(&self, message: Message) {
        let Some(unasked) = self.calls.deliver(self.server.as_str(), message) else { return };
        tokio::select! {
            _ = self.unasked.send(unasked) => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// A line that is no message. A response that is one but for its form still ends its call.
    fn bad(&self, line: &[u8], error: &spanwire_mcp::WireError) {
        let text: String =
            String::from_utf8_lossy(line.get(..MAX_LOGGED * 4).unwrap_or(line)).chars().take(MAX_LOGGED).collect();
        tracing::warn!(target: "spanwire::server", server = %self.server, %error, "skipped a line on stdout: {text}");
        if let Some(RequestId::Number(id)) = error.id {
            let text = format!("server \"{}\" sent an invalid response: {error}", self.server);
            self.calls.finish(id, Err(Error::new(ErrorKind::BadServer, text)));
        }
    }

    fn too_long(&self, head: &[u8], tail: &[u8]) {
        let limit = self.limits.max_bytes;
        let text = format!("server \"{}\" sent a message above {limit} bytes", self.server);
        let known = id_in(head, tail)
            .is_some_and(|id| self.calls.finish(id, Err(Error::new(ErrorKind::TooLarge, text.clone()))));
        tracing::warn!(server = %self.server, limit, belongs_to_a_call = known, "a message was too long");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(&*one_line(b"{\"a\":\r\n 1}"), b"{\"a\":   1}\n");
        assert_eq!(&*one_line(b"{}"), b"{}\n");
    }
}
