//! The server that the orders play: what it has heard, and its wire.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Value, json};
use spanwire_era::upstream::{Calls, Inbox, Unasked, Wire, WireRequest};
use spanwire_mcp::{ErrorObject, Json, Method, Notification, RequestId, Response, Revision};
use spanwire_model::{Event, Reply, Result};
use tokio::sync::mpsc;

use super::reading::{marks_in, only};

/// A request as the server has it.
#[derive(Clone)]
pub(crate) struct Sent {
    pub(crate) id: i64,
    pub(crate) mark: String,
    pub(crate) takes_input: bool,
}

/// The server.
pub(crate) struct Server {
    pub(crate) calls: Arc<Calls>,
    pub(crate) revision: Revision,
    pub(crate) state: Mutex<Heard>,
    pub(crate) unasked: mpsc::Sender<Unasked>,
}

#[derive(Default)]
pub(crate) struct Heard {
    /// Requests that wait for an answer, also those that were cancelled.
    pub(crate) open: Vec<Sent>,
    /// The marks of the calls that questions belong to, by the id of the question.
    pub(crate) questions: HashMap<String, String>,
    pub(crate) asked: usize,
}

pub(crate) fn json(value: &Value) -> Json {
    Json::from_trusted(value.to_string())
}

impl Server {
    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a server answers to what is not a call.
    fn at_once(&self, request: &WireRequest) -> Option<Value> {
        let capabilities = json!({
            "tools": { "listChanged": true }, "resources": { "subscribe": true }, "logging": {}, "prompts": {},
        });
        match request.method {
            Method::Discover if self.revision == Revision::V2026_07_28 => {
                Some(json!({ "supportedVersions": [self.revision.as_str()], "capabilities": capabilities }))
            }
            Method::Initialize => Some(json!({
                "protocolVersion": self.revision.as_str(),
                "capabilities": capabilities,
                "serverInfo": { "name": "played", "version": "1" },
            })),
            Method::SetLevel | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe | Method::Ping => {
                Some(json!({}))
            }
            _ => None,
        }
    }
}

/// The server as a wire.
pub(crate) struct Played(pub(crate) Arc<Server>);

#[async_trait]
impl Wire for Played {
    fn request(&self, request: WireRequest) -> Reply {
        let server = self.0.clone();
        Reply::new(async_stream::stream! {
            let mut inbox: Inbox = match server.calls.open(request.id, &request.method) {
                Ok(inbox) => inbox,
                Err(error) => {
                    yield Event::Done(Err(error));
                    return;
                }
            };
            match server.at_once(&request) {
                Some(result) => drop(server.calls.answer(Some(&RequestId::Number(request.id)), Ok(json(&result)))),
                None if request.method == Method::Discover => {
                    let error = ErrorObject::new(-32601, "unknown");
                    server.calls.answer(Some(&RequestId::Number(request.id)), Err(error));
                }
                None => {
                    let mark = marks_in(request.params.as_str()).next().unwrap_or_default().to_owned();
                    let takes_input = request.method.takes_input();
                    server.heard().open.push(Sent { id: request.id, mark, takes_input });
                }
            }
            loop {
                let event = inbox.next().await;
                let last = matches!(event, Event::Done(_));
                yield event;
                if last {
                    return;
                }
            }
        })
    }

    async fn notify(&self, _: Revision, _: Notification) -> Result<()> {
        Ok(())
    }

    async fn respond(&self, _: Revision, response: Response) -> Result<()> {
        let id = response.id.map(|id| id.to_string()).unwrap_or_default();
        let owner = self.0.heard().questions.remove(&id);
        if let (Some(owner), Ok(result)) = (owner, &response.outcome) {
            only(&owner, result.as_str(), &format!("the question {id} of {owner}"));
        }
        Ok(())
    }

    fn silence_is_legacy(&self) -> bool {
        true
    }

    async fn close(&self) {}
}
