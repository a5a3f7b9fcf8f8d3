//! Requests of a legacy server that belong to no call, and the way back for every answer that no caller gives.

use std::sync::Arc;

use spanwire_mcp::{ErrorObject, Json, Method, Request, Response, codes};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::line::Line;

/// What a legacy server is told in `initialize`: everything that the broker can carry. What a caller has not declared is refused
/// when it is asked for. Changes of roots are not announced: each caller has its own.
pub(super) const CAPABILITIES: &str =
    r#"{"roots":{},"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}}}"#;

/// Answers on their way to the server at once; further ones wait.
const MAX_SENDING: usize = 32;
/// Answers that wait; further ones are dropped and logged, and the server waits in vain.
const MAX_ANSWERS: usize = 256;

/// The answer to a request that belongs to no call.
///
/// The roots are none: many servers ask for them once, right after the handshake, and go on with what they were started with. A
/// client's roots are told in its own calls only, because the connection is shared.
pub(super) fn answer(request: Request) -> Response {
    let outcome = match &request.method {
        Method::Ping => Ok(Json::empty_object()),
        Method::RootsList => Ok(Json::from_trusted("{\"roots\":[]}")),
        method @ (Method::ElicitationCreate | Method::SamplingCreateMessage) => {
            let text = format!("{method} belongs to no call in flight, so that there is nobody to ask");
            Err(ErrorObject::new(codes::INTERNAL_ERROR, text))
        }
        method => Err(ErrorObject::new(codes::METHOD_NOT_FOUND, format!("{method} is not offered here"))),
    };
    Response { id: Some(request.id), outcome }
}

/// Where answers are left. Never waits.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    server: Arc<str>,
    waiting: mpsc::Sender<Response>,
}

/// Takes them to the server.
pub(super) struct Courier {
    answers: mpsc::Receiver<Response>,
}

impl Answers {
    /// Both ends.
    pub(super) fn new(server: Arc<str>) -> (Self, Courier) {
        let (waiting, answers) = mpsc::channel(MAX_ANSWERS);
        (Self { server, waiting }, Courier { answers })
    }

    /// Leaves an answer.
    pub(super) fn send(&self, response: Response) {
        if let Err(mpsc::error::TrySendError::Full(response)) = self.waiting.try_send(response) {
            tracing::warn!(server = %self.server, id = ?response.id, "too many answers wait: a request stays unanswered");
        }
    }
}

impl Courier {
    /// Runs until the connection is stopped. A slow answer does not delay the others.
    pub(super) async fn run(mut self, line: Arc<Line>, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(MAX_SENDING));
        let work = async {
            while let Some(response) = self.answers.recv().await {
                let Ok(permit) = room.clone().acquire_owned().await else { return };
                let (line, stop) = (line.clone(), stop.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    tokio::select! {
                        sent = line.wire.respond(line.revision(), response) => if let Err(error) = sent {
                            tracing::debug!(server = %line.server, %error, "an answer could not be sent");
                        },
                        () = stop.cancelled() => {}
                    }
                });
            }
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }
}
