//! A server, played by the orders, behind [`spanwire_era::upstream`], and callers in front of it.
//!
//! It must never panic; a caller must only ever see what is of its own call, and nothing after the end; an answer must reach the
//! question of the same call; and when all have gone, no task and no entry of a table is left.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use spanwire_era::upstream::{Calls, Settings, Unasked, connect};
use spanwire_mcp::{ErrorObject, Method, Notification, Request, RequestId, Revision, meta};
use spanwire_model::{Connected, EraChoice, Event, Reply, UpstreamCall};
use tokio::{sync::mpsc, task::yield_now, time::Instant};
use uuid::Uuid;

use super::{
    reading::{Orders, mark, only},
    server::{Played, Server, json},
};

/// Calls of one play.
const MAX_CALLS: usize = 24;
/// Turns that are given to the tasks, so that whatever can happen has happened.
const TURNS: usize = 40;
/// How often it is looked whether everything has gone.
const LOOKS: usize = 400;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// Longer than a caller waits for further questions.
const GATHER: Duration = Duration::from_millis(25);

/// A caller of one call.
struct Caller {
    mark: String,
    params: Value,
    method: Method,
    reply: Option<Reply>,
    /// What it was asked last.
    asked: Option<Value>,
}

impl Caller {
    /// Reads what is there.
    fn read(&mut self) {
        while let Some(reply) = &mut self.reply {
            let Some(event) = reply.next().now_or_never() else { return };
            match event {
                Some(Event::Progress(notification) | Event::Notification(notification)) => {
                    let text = String::from_utf8_lossy(&notification.to_bytes()).into_owned();
                    only(&self.mark, &text, &self.mark);
                }
                Some(Event::Done(outcome)) => {
                    match &outcome {
                        Ok(result) => {
                            only(&self.mark, result.as_str(), &self.mark);
                            let result = result.to_value();
                            self.asked = (result["resultType"] == "input_required").then_some(result);
                        }
                        Err(error) => only(&self.mark, &format!("{error:?}"), &self.mark),
                    }
                    let after = reply.next().now_or_never();
                    assert!(!matches!(after, Some(Some(_))), "something came after the end of {}", self.mark);
                    self.reply = None;
                }
                None => panic!("the reply of {} ended without an outcome", self.mark),
            }
        }
    }
}

/// Plays one order of messages. Panics when something is not as it must be.
pub(crate) async fn play(bytes: &[u8]) {
    let tasks = alive();
    let mut orders = Orders::new(bytes);
    let revisions = [Revision::V2025_11_25, Revision::V2026_07_28, Revision::V2025_03_26];
    let revision = orders.one(&revisions).copied().unwrap_or(Revision::V2025_11_25);
    let (unasked, unasked_rx) = mpsc::channel(256);
    let server = Arc::new(Server { calls: Arc::<Calls>::default(), revision, state: Mutex::default(), unasked });
    let wire = Arc::new(Played(server.clone()));
    let settings = Settings::new(json(&json!({ "name": "us", "version": "1" })));
    let Ok(id) = "played".parse() else { return };
    let connected = connect(&id, wire, unasked_rx, EraChoice::Auto, None, &settings).await;
    let Ok(connected) = connected else { panic!("no connection: {:?}", connected.err()) };
    let mut game = Game { connected: Some(connected), server, callers: Vec::new() };
    while game.turn(&mut orders).await.is_some() {
        for _ in 0..TURNS {
            yield_now().await;
        }
        game.callers.iter_mut().for_each(Caller::read);
    }
    game.end().await;
    for _ in 0..LOOKS {
        if alive() <= tasks {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("{} tasks are left", alive() - tasks);
}

fn alive() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

struct Game {
    connected: Option<Connected>,
    server: Arc<Server>,
    callers: Vec<Caller>,
}

impl Game {
    /// One message, or what a caller does.
    async fn turn(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        match orders.choose(16)? {
            0 | 1 => self.call(orders)?,
            2 => self.leave(orders)?,
            3 | 4 => self.come_back(orders)?,
            5 | 6 => self.answer(orders)?,
            7 => self.notify_call(orders)?,
            8..=10 => self.ask(orders)?,
            11 => self.notify_all(orders)?,
            12 => self.withdraw(orders)?,
            13 => tokio::time::sleep(GATHER).await,
            14 if orders.choose(8)? == 0 => {
                // A server that has lost its session goes on with none of its calls.
                self.server.heard().open.clear();
                self.unasked(Unasked::SessionRenewed);
            }
            15 if orders.choose(16)? == 0 => self.unasked(Unasked::Closed("server \"played\" exited".into())),
            _ => {}
        }
        Some(())
    }

    fn unasked(&self, item: Unasked) {
        // A server that says more than is taken has to wait; here it is not heard.
        let _ = self.server.unasked.try_send(item);
    }

    fn send(&mut self, mark: String, method: Method, params: Value) {
        let Some(connected) = &self.connected else { return };
        let call = UpstreamCall {
            principal: "anna".into(),
            call_id: Uuid::now_v7(),
            method: method.clone(),
            params: json(&params),
            deadline: Instant::now() + Duration::from_secs(3600),
            trace: None,
        };
        let reply = Some(connected.upstream.call(call));
        let mut caller = Caller { mark, params, method, reply, asked: None };
        caller.read();
        self.callers.push(caller);
    }

    fn call(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let number = self.callers.len();
        if number >= MAX_CALLS {
            return Some(());
        }
        let mark = mark(number);
        let method = match orders.choose(8)? {
            0 => Method::PromptsGet,
            1 => Method::ResourcesRead,
            2 => Method::ToolsList,
            3 => Method::Listen,
            _ => Method::ToolsCall,
        };
        let levels = ["debug", "error", "none"];
        let mut params = json!({
            "name": format!("tool-{}", number % 2),
            "uri": format!("a:{}", number % 2),
            "arguments": { "mark": mark },
            "_meta": {
                meta::PROGRESS_TOKEN: mark,
                meta::CLIENT_CAPABILITIES: { "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": {} },
            },
        });
        match *orders.one(&levels)? {
            "none" => {}
            level => params["_meta"][meta::LOG_LEVEL] = level.into(),
        }
        if method == Method::Listen {
            params = json!({ "notifications": { "toolsListChanged": true, "resourceSubscriptions": ["a:0", "a:1"] } });
        }
        self.send(mark, method, params);
        Some(())
    }

    fn leave(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let at = orders.choose(self.callers.len())?;
        if let Some(caller) = self.callers.get_mut(at) {
            caller.reply = None;
        }
        Some(())
    }

    /// The retry of a call that was asked something: right, twice, with half of the answers, or with a state that is none.
    fn come_back(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let at = orders.choose(self.callers.len())?;
        let how = orders.choose(6)?;
        let Some(caller) = self.callers.get_mut(at) else { return Some(()) };
        let asked = if how == 0 { caller.asked.clone() } else { caller.asked.take() };
        let Some(asked) = asked else { return Some(()) };
        let mut answers = serde_json::Map::new();
        for key in asked["inputRequests"].as_object().into_iter().flatten().map(|(key, _)| key) {
            answers.insert(key.clone(), json!({ "action": "accept", "content": { "mark": caller.mark } }));
        }
        match how {
            1 => answers.clear(),
            2 => drop(answers.insert("no such key".to_owned(), json!(7))),
            _ => {}
        }
        let (mark, method, mut params) = (caller.mark.clone(), caller.method.clone(), caller.params.clone());
        params["inputResponses"] = answers.into();
        params["requestState"] = if how == 3 { "none of ours".into() } else { asked["requestState"].clone() };
        self.send(mark, method, params);
        Some(())
    }

    /// The server answers a request, rightly or not.
    fn answer(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let open = self.server.heard().open.clone();
        let how = orders.choose(8)?;
        let Some(sent) = orders.one(&open).cloned() else { return Some(()) };
        let modern = self.server.revision == Revision::V2026_07_28;
        let result = match how {
            0 => Err(ErrorObject::new(-32000, format!("refused {}", sent.mark))),
            1 => Ok(json!([sent.mark])),
            2 if modern => Ok(json!({
                "resultType": "input_required",
                "inputRequests": { "k": { "method": "elicitation/create", "params": { "message": sent.mark } } },
                "requestState": format!("state of {}", sent.mark),
            })),
            3 => {
                // An answer to nothing.
                self.server.calls.answer(Some(&RequestId::Number(-7)), Ok(json(&json!({}))));
                self.server.calls.answer(None, Ok(json(&json!({ "mark": sent.mark }))));
                return Some(());
            }
            _ => Ok(json!({ "content": [{ "type": "text", "text": sent.mark }] })),
        };
        self.server.heard().open.retain(|other| other.id != sent.id);
        self.server.calls.answer(Some(&RequestId::Number(sent.id)), result.map(|result| json(&result)));
        // Twice.
        if how == 7 {
            self.server.calls.answer(Some(&RequestId::Number(sent.id)), Ok(json(&json!({ "mark": sent.mark }))));
        }
        Some(())
    }

    /// Progress and log messages about a request, in the ways of either transport.
    fn notify_call(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let open = self.server.heard().open.clone();
        let how = orders.choose(4)?;
        let Some(sent) = orders.one(&open) else { return Some(()) };
        let log = json!({ "level": "error", "data": sent.mark });
        let (method, params) = match how {
            0 => (Method::Progress, json!({ "progressToken": sent.id, "progress": 1, "message": sent.mark })),
            1 => (Method::Progress, json!({ "progressToken": -7, "progress": 1 })),
            _ => (Method::LogMessage, log),
        };
        let notification = Notification { method, params: Some(json(&params)) };
        if how == 2 {
            // On the call's own stream.
            self.server.calls.push(sent.id, notification);
        } else if let Some(notification) = self.server.calls.notify(notification) {
            self.unasked(Unasked::Notification(notification));
        }
        Some(())
    }

    fn notify_all(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let (method, params) = match orders.choose(4)? {
            0 => (Method::ToolsListChanged, None),
            1 => (Method::ResourceUpdated, Some(json(&json!({ "uri": "a:0" })))),
            2 => (Method::ResourceUpdated, Some(json(&json!({ "uri": 7 })))),
            _ => (Method::Other("notifications/odd".into()), None),
        };
        if let Some(notification) = self.server.calls.notify(Notification { method, params }) {
            self.unasked(Unasked::Notification(notification));
        }
        Some(())
    }

    /// The server asks in the middle of a call, on its stream or where nothing says which call it is.
    fn ask(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let open = self.server.heard().open.clone();
        let (how, place) = (orders.choose(6)?, orders.choose(4)?);
        let Some(sent) = orders.one(&open).cloned() else { return Some(()) };
        let asked = {
            let mut heard = self.server.heard();
            heard.asked += 1;
            let id = format!("question-{}", heard.asked);
            heard.questions.insert(id.clone(), sent.mark.clone());
            id
        };
        let (method, params) = match how {
            0 => (Method::Ping, None),
            1 => (Method::RootsList, None),
            2 => (
                Method::SamplingCreateMessage,
                Some(json!({ "messages": [], "maxTokens": 1, "systemPrompt": sent.mark })),
            ),
            3 => (Method::Other("x/odd".into()), Some(json!({ "mark": sent.mark }))),
            _ => (
                Method::ElicitationCreate,
                Some(json!({ "message": sent.mark, "requestedSchema": { "type": "object" } })),
            ),
        };
        let call = match place {
            0 | 1 => Some(sent.id),
            // Only the three methods that may ask are suspected: a question in the middle of another one, which says nothing
            // of where it comes from, would be taken for theirs.
            2 if sent.takes_input => None,
            2 => Some(sent.id),
            // A call that is not there; the question is nobody's then.
            _ => Some(-7),
        };
        let request =
            Request { id: RequestId::String(asked.as_str().into()), method, params: params.as_ref().map(json) };
        self.unasked(Unasked::Request { request, call });
        Some(())
    }

    /// The server takes a question back, or cancels what is not its own.
    fn withdraw(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let id = match orders.choose(3)? {
            0 => json!("question-1"),
            1 => json!(orders.choose(8)?),
            _ => Value::Null,
        };
        let params = Some(json(&json!({ "requestId": id })));
        if let Some(notification) = self.server.calls.notify(Notification { method: Method::Cancelled, params }) {
            self.unasked(Unasked::Notification(notification));
        }
        Some(())
    }

    /// Everybody goes.
    async fn end(mut self) {
        self.callers.clear();
        for _ in 0..TURNS {
            yield_now().await;
        }
        if let Some(connected) = self.connected.take() {
            connected.upstream.close().await;
        }
        for _ in 0..LOOKS {
            if self.server.calls.is_empty() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{} calls are left in the table", self.server.calls.len());
    }
}
