//! Whatever happens in whatever order: a caller sees what belongs to its own calls, every call ends, and nothing is left.
//!
//! A seed decides on every step. What belongs to a call carries its mark, `<c7>`, in both directions. The server keeps one rule: it
//! answers no call while a request of it is open, unless it takes that request back or says on the call's stream whose it is.

use std::collections::{HashMap, HashSet};

use spanwire_mcp::{RequestId, input::InputRequired};
use spanwire_model::ErrorKind;

use super::{
    input::{ALL, Peer, Running, again, tool},
    *,
};

const SEEDS: u64 = 120;
const STEPS: u32 = 80;
/// So few that some are remembered to ask.
const TOOLS: u64 = 4;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        from.get(usize::try_from(self.below(from.len().max(1) as u64)).unwrap()).copied()
    }
}

enum Client {
    Reading(Running),
    Asked(InputRequired),
    /// It went away, or has its outcome.
    Gone,
}

struct Caller {
    mark: String,
    tool: String,
    declares: bool,
    client: Client,
    /// The server is not done with it.
    at_server: bool,
    wire_id: Option<i64>,
    /// What each key asked.
    keys: HashMap<String, String>,
}

struct World {
    peer: Peer,
    random: Random,
    /// The server says on which call's stream it asks.
    on_stream: bool,
    cancels: bool,
    /// Calls in flight at once.
    crowd: usize,
    callers: Vec<Caller>,
    /// The server's requests, and whose they are.
    asked: Vec<(String, usize)>,
    taken_back: HashSet<String>,
}

/// Every mark in the text is this one.
fn assert_only(text: &str, mark: &str) {
    for part in text.split('<').skip(1) {
        let found = format!("<{}>", part.split('>').next().unwrap());
        assert_eq!(found, mark, "a caller saw what is another's: {text}");
    }
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (on_stream, cancels) = (random.one_in(2), random.one_in(3));
        let crowd = usize::try_from(random.below(5) + 1).unwrap();
        let peer = Peer::with("{}", |waits| {
            waits.gather = Duration::from_millis(1);
            waits.attribute = Duration::from_millis(2);
        });
        let peer = peer.await;
        let (callers, asked, taken_back) = (Vec::new(), Vec::new(), HashSet::new());
        Self { peer, random, on_stream, cancels, crowd, callers, asked, taken_back }
    }

    fn call(&self, index: usize, retry: Option<(&str, &str)>) -> UpstreamCall {
        let caller = &self.callers[index];
        let mut call = match retry {
            Some((state, responses)) => again(&caller.tool, state, responses),
            None => tool(&caller.tool, if caller.declares { ALL } else { "{}" }, ""),
        };
        let arguments = format!(r#"{{"of":"{}"}}"#, caller.mark);
        call.params = call.params.with(&[("arguments", arguments.as_bytes())], &[]);
        call.deadline = tokio::time::Instant::now() + Duration::from_millis(40);
        call
    }

    fn start(&mut self) {
        let index = self.callers.len();
        let (tool, declares) = (format!("t{}", self.random.below(TOOLS)), !self.random.one_in(5));
        let (mark, keys) = (format!("<c{index}>"), HashMap::new());
        let client = Client::Gone;
        self.callers.push(Caller { mark, tool, declares, client, at_server: false, wire_id: None, keys });
        self.callers[index].client = Client::Reading(self.peer.run(self.call(index, None)));
    }

    /// Notes what has reached the server.
    fn look(&mut self) {
        let sent = self.peer.server.sent.borrow().clone();
        for caller in self.callers.iter_mut().filter(|caller| caller.wire_id.is_none()) {
            let found = sent.iter().find(|(_, params)| params.contains(&caller.mark));
            caller.wire_id = found.map(|(id, _)| *id);
            caller.at_server = caller.wire_id.is_some();
        }
    }

    fn at_server(&self) -> Vec<usize> {
        (0..self.callers.len()).filter(|index| self.callers[*index].at_server).collect()
    }

    fn open_of(&self, index: usize) -> Vec<String> {
        let log = self.peer.server.log.borrow();
        let answered = |id: &str| log.iter().any(|line| line.contains(&format!(r#""id":"{id}","#)));
        let open = self.asked.iter().filter(|(id, of)| *of == index && !self.taken_back.contains(id) && !answered(id));
        open.map(|(id, _)| id.clone()).collect()
    }

    async fn ask(&mut self) {
        let Some(index) = self.random.pick(&self.at_server()) else { return };
        let id = format!("q{}", self.asked.len());
        let caller = &self.callers[index];
        let (method, params) = match self.random.below(3) {
            0 => (Method::SamplingCreateMessage, format!(r#"{{"messages":["{} {id}"]}}"#, caller.mark)),
            1 => (Method::RootsList, format!(r#"{{"x":"{} {id}"}}"#, caller.mark)),
            _ => (Method::ElicitationCreate, format!(r#"{{"message":"{} {id}"}}"#, caller.mark)),
        };
        let call = caller.wire_id.filter(|_| self.on_stream);
        self.asked.push((id.clone(), index));
        self.peer.ask_as(RequestId::String(id.into()), method, &params, call).await;
    }

    async fn take_back(&mut self, id: String) {
        let params = format!(r#"{{"requestId":"{id}"}}"#);
        self.taken_back.insert(id);
        let notification = Notification { method: Method::Cancelled, params: Some(json(&params)) };
        self.peer.server.unasked().send(Unasked::Notification(notification)).await.unwrap();
    }

    fn say(&mut self) {
        let Some(index) = self.random.pick(&self.at_server()) else { return };
        let caller = &self.callers[index];
        let params = Some(json(&format!(r#"{{"said":"{}"}}"#, caller.mark)));
        let notification = Notification { method: Method::Other("x/said".into()), params };
        self.peer.server.calls.push(caller.wire_id.unwrap(), notification);
    }

    async fn answer(&mut self, index: usize) {
        let open = self.open_of(index);
        if !open.is_empty() && !self.on_stream {
            for id in open {
                self.take_back(id).await;
            }
            self.peer.settled().await;
        }
        let caller = &mut self.callers[index];
        caller.at_server = false;
        let result = format!(r#"{{"content":"{}"}}"#, caller.mark);
        self.peer.server.calls.finish(caller.wire_id.unwrap(), Ok(json(&result)));
    }

    /// Takes what the callers have got so far.
    async fn collect(&mut self, wait: bool) {
        for index in 0..self.callers.len() {
            let caller = &mut self.callers[index];
            let Client::Reading(running) = &caller.client else { continue };
            if !wait && !running.is_finished() {
                continue;
            }
            let Client::Reading(running) = std::mem::replace(&mut caller.client, Client::Gone) else { continue };
            let (events, outcome) = running.done().await;
            for event in &events {
                assert_only(&format!("{event:?}"), &caller.mark);
            }
            let result = match outcome {
                Ok(result) => result,
                Err(error) => {
                    // It never got its turn.
                    assert_eq!((error.kind, caller.wire_id), (ErrorKind::Overloaded, None), "{error}");
                    continue;
                }
            };
            assert_only(result.as_str(), &caller.mark);
            let Some(asked) = InputRequired::read(&result) else { continue };
            let asked = asked.unwrap();
            assert!(caller.declares, "asked for what it has not declared");
            for request in &asked.requests {
                let text = request.params.as_ref().unwrap().as_str().to_owned();
                let before = caller.keys.entry(request.key.clone()).or_insert_with(|| text.clone());
                assert_eq!(*before, text, "a key means one thing");
            }
            caller.client = Client::Asked(asked);
        }
    }

    async fn retry(&mut self, index: usize, fully: bool) {
        let Client::Asked(asked) = &self.callers[index].client else { return };
        let state = asked.request_state.clone().unwrap();
        let answer = format!(r#"{{"of":"{}"}}"#, self.callers[index].mark);
        let keys: Vec<String> = asked.requests.iter().map(|request| request.key.clone()).collect();
        let keys = keys.into_iter().filter(|_| fully || !self.random.one_in(3));
        let answers: Vec<String> = keys.map(|key| format!("\"{key}\":{answer}")).collect();
        let wrong = match self.random.below(if fully { u64::MAX } else { 8 }) {
            0 => Some(("7".to_owned(), state.clone())),
            1 => Some(("{}".to_owned(), uuid::Uuid::new_v4().to_string())),
            _ => None,
        };
        if let Some((responses, state)) = wrong {
            let error = self.peer.run(self.call(index, Some((&state, &responses)))).outcome().await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidParams);
            return;
        }
        let call = self.call(index, Some((&state, &format!("{{{}}}", answers.join(",")))));
        self.callers[index].client = Client::Reading(self.peer.run(call));
    }

    async fn step(&mut self) {
        match self.random.below(12) {
            0..=2 if self.at_server().len() < self.crowd => self.start(),
            0..=5 => self.ask().await,
            6 => self.say(),
            7 => {
                if let Some(index) = self.random.pick(&self.at_server()) {
                    self.answer(index).await;
                }
            }
            8 => {
                let open: Vec<String> = self.at_server().into_iter().flat_map(|index| self.open_of(index)).collect();
                let index = usize::try_from(self.random.below(8)).unwrap();
                if let Some(id) = open.get(index) {
                    self.take_back(id.clone()).await;
                }
            }
            9 | 10 => {
                let asked = |caller: &Caller| matches!(caller.client, Client::Asked(_));
                let asked: Vec<usize> = (0..self.callers.len()).filter(|index| asked(&self.callers[*index])).collect();
                if let Some(index) = self.random.pick(&asked) {
                    self.retry(index, false).await;
                }
            }
            _ => {
                let all: Vec<usize> = (0..self.callers.len()).collect();
                // A server that goes on with it may still ask.
                let Some(index) = self.random.pick(&all).filter(|_| self.cancels) else { return };
                match std::mem::replace(&mut self.callers[index].client, Client::Gone) {
                    Client::Reading(running) => running.cancel().await,
                    other => self.callers[index].client = other,
                }
            }
        }
        for _ in 0..self.random.below(5) {
            tokio::task::yield_now().await;
        }
        match self.random.below(8) {
            0 | 1 => self.peer.settled().await,
            // Time passes, too: questions are told, and held ones refused.
            2 => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => {}
        }
        self.look();
        self.collect(false).await;
    }

    /// Answers everything, on both sides, until every call has ended.
    async fn finish(&mut self) {
        while self.callers.iter().any(|caller| !matches!(caller.client, Client::Gone)) {
            self.look();
            for index in 0..self.callers.len() {
                self.retry(index, true).await;
            }
            for index in self.at_server() {
                self.answer(index).await;
            }
            // Whoever waits for its turn gets it, or gives up.
            tokio::task::yield_now().await;
            self.look();
            self.collect(false).await;
        }
    }

    /// No answer reached a request of another call.
    fn assert_answers(&self) {
        for line in self.peer.server.log.borrow().iter().filter(|line| line.contains(r#""of":"#)) {
            if let Some((_, of)) = self.asked.iter().find(|(id, _)| line.contains(&format!(r#""id":"{id}","#))) {
                assert_only(line, &self.callers[*of].mark);
                assert!(self.callers[*of].declares);
            }
        }
    }
}

#[tokio::test]
async fn nobody_sees_what_belongs_to_another_and_nothing_is_left() {
    let (mut parked, mut refused) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed).await;
        for _ in 0..STEPS {
            world.step().await;
        }
        parked += world.callers.iter().filter(|caller| !caller.keys.is_empty()).count();
        refused += world.peer.server.count("one of several calls");
        world.finish().await;
        world.assert_answers();
        world.peer.idle().await;
    }
    assert!(parked > 50 && refused > 50, "little was tried: {parked} calls parked, {refused} requests refused");
}

#[tokio::test]
async fn a_connection_that_is_stopped_at_any_moment_leaves_nothing() {
    for seed in 0..SEEDS / 4 {
        let mut world = World::new(seed).await;
        for _ in 0..STEPS / 2 {
            world.step().await;
        }
        let reason: Arc<str> = "server \"fake\" exited".into();
        world.peer.server.calls.close(&reason);
        world.peer.server.unasked().send(Unasked::Closed(reason)).await.unwrap();
        for index in 0..world.callers.len() {
            match std::mem::replace(&mut world.callers[index].client, Client::Gone) {
                Client::Reading(running) => {
                    // Some had their result or their question already.
                    let _ = running.outcome().await;
                }
                Client::Asked(asked) => {
                    let state = asked.request_state.unwrap();
                    let error = world.peer.run(world.call(index, Some((&state, "{}")))).outcome().await.unwrap_err();
                    assert_eq!(error.kind, ErrorKind::StreamLost);
                }
                Client::Gone => {}
            }
        }
        world.peer.idle().await;
    }
}
