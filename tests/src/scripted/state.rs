//! What a scripted server keeps between messages.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use spanwire_mcp::meta;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::tasks::Task;

/// Where messages to the client go.
pub(super) type Out = mpsc::UnboundedSender<Value>;

/// A legacy connection or session.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// What the client declared in `initialize`.
    pub(super) capabilities: Value,
    /// What `logging/setLevel` said last.
    pub(super) level: String,
    /// Messages that belong to no call.
    pub(super) general: Out,
    /// Resources subscribed to.
    pub(super) subscribed: BTreeSet<String>,
}

/// An open `subscriptions/listen`.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) id: Value,
    pub(super) filter: Value,
    pub(super) out: Out,
    pub(super) connection: u64,
}

/// Everything.
#[derive(Debug, Default)]
pub(super) struct State {
    sessions: HashMap<u64, Session>,
    pub(super) listeners: Vec<Listener>,
    /// Calls that can be cancelled, by connection and id.
    pub(super) open: HashMap<(u64, String), CancellationToken>,
    /// Requests of ours that wait for their answer.
    pub(super) asked: HashMap<String, oneshot::Sender<Value>>,
    /// Entries that were added to a list.
    pub(super) added: BTreeSet<(String, String)>,
    pub(super) tasks: BTreeMap<String, Task>,
    /// Calls of `hold`, by their tag.
    pub(super) held: HashMap<String, CancellationToken>,
}

impl State {
    pub(super) fn link(&self, number: u64) -> Option<&Session> {
        self.sessions.get(&number)
    }

    pub(super) fn link_mut(&mut self, number: u64) -> Option<&mut Session> {
        self.sessions.get_mut(&number)
    }

    pub(super) fn open_session(&mut self, number: u64, capabilities: Value, general: Out) {
        let (level, subscribed) = ("info".to_owned(), BTreeSet::new());
        self.sessions.insert(number, Session { capabilities, level, general, subscribed });
    }

    pub(super) fn end_session(&mut self, number: u64) {
        self.sessions.remove(&number);
    }

    /// What holds a call with this tag back.
    pub(super) fn hold(&mut self, tag: &str) -> CancellationToken {
        self.held.entry(tag.to_owned()).or_default().clone()
    }

    /// To whom a notification of the server goes: the way there, its connection, and the message in the form that is due.
    pub(super) fn concerned(&self, method: &str, params: &Value) -> Vec<(Out, u64, Value)> {
        let message = |params: Value| json!({ "jsonrpc": "2.0", "method": method, "params": params });
        let uri = params["uri"].as_str().unwrap_or_default();
        let wants = |filter: &Value| match method {
            "notifications/resources/updated" => {
                filter["resourceSubscriptions"].as_array().is_some_and(|uris| uris.iter().any(|own| own == uri))
            }
            "notifications/tools/list_changed" => filter["toolsListChanged"] == true,
            "notifications/prompts/list_changed" => filter["promptsListChanged"] == true,
            "notifications/resources/list_changed" => filter["resourcesListChanged"] == true,
            "notifications/tasks" => filter["taskIds"].as_array().is_some_and(|ids| ids.contains(&params["taskId"])),
            _ => false,
        };
        let modern = self.listeners.iter().filter(|listener| wants(&listener.filter)).map(|listener| {
            let mut params = if params.is_object() { params.clone() } else { json!({}) };
            params["_meta"] = json!({ meta::SUBSCRIPTION_ID: listener.id });
            (listener.out.clone(), listener.connection, message(params))
        });
        let updated = method == "notifications/resources/updated";
        let legacy = self.sessions.iter().filter(|(_, session)| !updated || session.subscribed.contains(uri)).map(
            |(number, session)| {
                let mut message = message(params.clone());
                if params.is_null() {
                    message.as_object_mut().map(|message| message.remove("params"));
                }
                (session.general.clone(), *number, message)
            },
        );
        if method == "notifications/tasks" { modern.collect() } else { modern.chain(legacy).collect() }
    }
}
