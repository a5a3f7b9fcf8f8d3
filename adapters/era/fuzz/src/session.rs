//! Two legacy clients, played by the orders, in front of [`spanwire_era::session`], and a broker behind it.
//!
//! It must never panic; what a client is asked is of its own call, and what it answers reaches that call and no other, whatever ids
//! it answers with; and when every call has ended, no question is left.

use std::collections::HashMap;

use serde_json::{Value, json};
use spanwire_era::session::{Answered, Ending, Retry, RoundId, Session, Step, ending, notification};
use spanwire_mcp::{ErrorObject, Json, Method, Notification, Request, RequestId, Response, input::InputRequired, meta};

use super::reading::{Orders, mark, marks_in, only};

/// Calls of one play.
const MAX_CALLS: usize = 24;

fn json(value: &Value) -> Json {
    Json::from_trusted(value.to_string())
}

/// A call of a client that has been dispatched.
struct Running {
    mark: String,
    method: Method,
    params: Json,
    round: Option<RoundId>,
}

/// A client and its session.
struct Side {
    session: Session,
    running: Vec<Running>,
    /// Questions that the client has, by id, with the mark of the call.
    questions: HashMap<RequestId, String>,
}

struct Game {
    sides: Vec<Side>,
    calls: usize,
}

/// Plays one order of messages. Panics when something is not as it must be.
pub(crate) fn play(bytes: &[u8]) {
    let mut orders = Orders::new(bytes);
    let mut sides = Vec::new();
    for tag in ["ann", "bob"] {
        let versions = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "odd"];
        let version = orders.one(&versions).copied().unwrap_or("2025-11-25");
        let params = json!({
            "protocolVersion": version,
            "capabilities": { "elicitation": { "form": {}, "url": {} }, "sampling": {}, "roots": { "listChanged": true }, "x": 7 },
            "clientInfo": { "name": tag, "version": "1" },
        });
        let Ok(mut session) = Session::open(Some(&json(&params))) else { panic!("no session") };
        session.set_tag(tag.into());
        sides.push(Side { session, running: Vec::new(), questions: HashMap::new() });
    }
    let mut game = Game { sides, calls: 0 };
    while game.turn(&mut orders).is_some() {}
    game.end();
}

impl Game {
    fn turn(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let what = orders.choose(12)?;
        let at = orders.choose(self.sides.len())?;
        match what {
            0 | 1 => self.call(at, orders),
            2..=4 => self.outcome(at, orders),
            5..=7 => self.answer(at, orders),
            8 => self.sides[at].withdraw(orders),
            9 => self.sides[at].odd_request(orders),
            10 => self.sides[at].hear(orders),
            _ => self.sides[at].tell(orders),
        }
    }

    fn call(&mut self, at: usize, orders: &mut Orders<'_>) -> Option<()> {
        if self.calls >= MAX_CALLS {
            return Some(());
        }
        let (mark, side) = (mark(self.calls), &mut self.sides[at]);
        self.calls += 1;
        let method =
            orders.one(&[Method::ToolsCall, Method::PromptsGet, Method::ResourcesRead, Method::Complete])?.clone();
        let params = json(&json!({ "name": "t", "uri": "a:b", "mark": mark, "_meta": { meta::PROGRESS_TOKEN: mark } }));
        let request = Request { id: RequestId::Number(1), method: method.clone(), params: Some(params.clone()) };
        let Step::Call { params: canonical, .. } = side.session.request(&request) else {
            panic!("{method} is no call")
        };
        only(&mark, canonical.as_str(), &mark);
        side.running.push(Running { mark, method, params, round: None });
        Some(())
    }

    /// What the broker says of a call: a result, an error, or questions.
    fn outcome(&mut self, at: usize, orders: &mut Orders<'_>) -> Option<()> {
        let side = &mut self.sides[at];
        let how = orders.choose(8)?;
        let which = orders.choose(side.running.len())?;
        let Some(running) = side.running.get(which).filter(|running| running.round.is_none()) else { return Some(()) };
        let mark = running.mark.clone();
        let question =
            |text: &str| json!({ "method": "elicitation/create", "params": { "mode": "form", "message": text } });
        let outcome = match how {
            0 => Ok(json(&json!({ "resultType": "complete", "content": [mark] }))),
            1 => Err(spanwire_model::Error::from_server(ErrorObject::new(-32000, mark.clone()))),
            2 => Ok(json(&json!({ "resultType": "input_required", "inputRequests": { "a": 7 } }))),
            3 => Ok(json(&json!({ "resultType": "input_required", "requestState": mark }))),
            4 => Ok(json(&json!({ "resultType": "odd", "content": [mark] }))),
            _ => Ok(json(&json!({
                "resultType": "input_required",
                "inputRequests": { "a": question(&mark), "b": { "method": "roots/list" } },
                "requestState": mark,
            }))),
        };
        match ending(&running.method, Some(&running.params), outcome) {
            Ending::Answer(answer) => {
                only(&mark, &format!("{answer:?}"), &mark);
                side.running.remove(which);
            }
            Ending::Input(required) => side.ask(which, required),
        }
        Some(())
    }

    /// A client answers: its own question, one of the other client, or none.
    fn answer(&mut self, at: usize, orders: &mut Orders<'_>) -> Option<()> {
        let (how, from) = (orders.choose(6)?, orders.choose(self.sides.len())?);
        let mut ids: Vec<RequestId> = self.sides[from].questions.keys().cloned().collect();
        ids.sort_by_key(RequestId::to_json);
        let id = match orders.one(&ids) {
            Some(id) if how > 0 => Some(id.clone()),
            _ => orders.choose(4).map(|number| RequestId::Number(number as i64)),
        };
        let owner = id.as_ref().and_then(|id| self.sides[from].questions.get(id)).cloned().unwrap_or_default();
        let outcome = match how {
            1 => Err(ErrorObject::new(-1, owner.clone())),
            2 => Ok(json(&json!([owner]))),
            _ => Ok(json(&json!({ "action": "accept", "content": { "mark": owner } }))),
        };
        let side = &mut self.sides[at];
        let answered = side.session.answer(Response { id: id.clone(), outcome });
        if from != at {
            assert_eq!(answered, Answered::Nothing, "an answer to {owner} was taken in another session");
            return Some(());
        }
        id.inspect(|id| drop(side.questions.remove(id)));
        if let Answered::Complete(round, retry) = answered {
            side.retried(round, &retry);
        }
        Some(())
    }

    /// Every round is withdrawn; then no answer means anything.
    fn end(self) {
        for mut side in self.sides {
            for running in std::mem::take(&mut side.running) {
                running.round.and_then(|round| side.session.withdraw(round, "the end"));
            }
            for id in side.questions.into_keys() {
                let late = side.session.answer(Response { id: Some(id), outcome: Ok(Json::empty_object()) });
                assert_eq!(late, Answered::Nothing, "a question outlived its call");
            }
        }
    }
}

impl Side {
    fn ask(&mut self, which: usize, required: InputRequired) {
        let mark = self.running[which].mark.clone();
        let count = required.requests.len();
        let Ok(asked) = self.session.ask(required) else {
            self.running.remove(which);
            return;
        };
        assert_eq!(asked.requests.len(), count, "some questions are not asked");
        for request in asked.requests {
            only(&mark, &String::from_utf8_lossy(&request.to_bytes()), "a question");
            let before = self.questions.insert(request.id, mark.clone());
            assert!(before.is_none(), "an id was given out twice");
        }
        if count > 0 {
            self.running[which].round = Some(asked.round);
        }
    }

    /// The retry of a round: with the answers of its own call.
    fn retried(&mut self, round: RoundId, retry: &Retry) {
        let running = self.running.iter_mut().find(|running| running.round == Some(round));
        let Some(running) = running else { panic!("a round that nobody waits for is complete") };
        running.round = None;
        let params = self.session.retry_params(Some(&running.params), retry);
        only(&running.mark, params.as_str(), "a retry");
        assert!(marks_in(params.as_str()).next().is_some(), "a retry lost what it is about");
    }

    fn withdraw(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let which = orders.choose(self.running.len())?;
        if which >= self.running.len() {
            return Some(());
        }
        let running = self.running.remove(which);
        if let Some(withdrawn) = running.round.and_then(|round| self.session.withdraw(round, "enough")) {
            let params = self.session.retry_params(Some(&running.params), &withdrawn.retry);
            only(&running.mark, params.as_str(), "a withdrawal");
            assert!(!withdrawn.notifications.is_empty(), "an open round has no open question");
        }
        Some(())
    }

    fn odd_request(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let methods = [
            "ping",
            "initialize",
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
            "x/odd",
            "roots/list",
        ];
        let params = [json!({}), json!({ "uri": "a:b", "level": "error" }), json!({ "uri": 7, "level": "loud" })];
        let method = Method::from(*orders.one(&methods)?);
        let request = Request { id: RequestId::Number(2), method, params: Some(json(orders.one(&params)?)) };
        match self.session.request(&request) {
            Step::Subscribe(uri) => {
                assert!(self.session.listen_params().as_str().contains(&uri), "a subscription is not listened to");
            }
            Step::Answer(_) | Step::Call { .. } | Step::Unsubscribe | Step::Task(_) => {}
        }
        Some(())
    }

    fn hear(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let methods = ["notifications/initialized", "notifications/cancelled", "notifications/odd"];
        let params = [json!({}), json!({ "requestId": 1 }), json!({ "requestId": null })];
        let heard =
            Notification { method: Method::from(*orders.one(&methods)?), params: Some(json(orders.one(&params)?)) };
        let _ = self.session.notification(&heard);
        Some(())
    }

    fn tell(&mut self, orders: &mut Orders<'_>) -> Option<()> {
        let methods = [
            "notifications/progress",
            "notifications/subscriptions/acknowledged",
            "notifications/tasks",
            "notifications/odd",
        ];
        let told = Notification {
            method: Method::from(*orders.one(&methods)?),
            params: Some(json(&json!({ "_meta": { meta::SUBSCRIPTION_ID: 1 }, "progress": 1 }))),
        };
        let told = notification(self.session.revision(), told)
            .map(|told| String::from_utf8_lossy(&told.to_bytes()).into_owned());
        assert!(!told.is_some_and(|told| told.contains("subscriptionId")), "a legacy client got a subscription id");
        Some(())
    }
}
