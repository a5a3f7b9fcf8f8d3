//! What a server asks in the middle of a call.

mod attributing;
mod bounds;
mod parking;
mod refusing;
mod retrying;
mod urls;
mod without_a_call;

use spanwire_mcp::{Request, RequestId, input::InputRequired};
use spanwire_model::ErrorKind;
use tokio::task::JoinHandle;

use super::*;

/// What a caller may declare at most.
pub(super) const ALL: &str = r#"{"roots":{},"sampling":{"tools":{}},"elicitation":{"form":{},"url":{}}}"#;
const FORM: &str = r#"{"message":"who?","requestedSchema":{"type":"object","properties":{}}}"#;

/// How a server's request comes: on the call's own stream, or beside it.
const BOTH: [bool; 2] = [true, false];

/// A connected legacy server that leaves every call open.
pub(super) struct Peer {
    pub server: Arc<Server>,
    pub connected: Connected,
}

/// A reply that somebody reads.
pub(super) struct Running(JoinHandle<(Vec<Event>, Outcome)>);

/// The events that came before the outcome, and the question.
struct Asked {
    asked: InputRequired,
    events: Vec<Event>,
}

impl Asked {
    fn state(&self) -> &str {
        self.asked.request_state.as_deref().unwrap()
    }

    fn key(&self, index: usize) -> &str {
        &self.asked.requests[index].key
    }

    /// Answers to everything, in the order of asking.
    fn answers(&self, answers: &[&str]) -> String {
        let answers =
            self.asked.requests.iter().zip(answers).map(|(asked, answer)| format!("\"{}\":{answer}", asked.key));
        format!("{{{}}}", answers.collect::<Vec<_>>().join(","))
    }
}

impl Running {
    pub(super) fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    pub(super) async fn done(self) -> (Vec<Event>, Outcome) {
        tokio::time::timeout(LONG, self.0).await.expect("the call never ended").unwrap()
    }

    pub(super) async fn outcome(self) -> Outcome {
        self.done().await.1
    }

    async fn asked(self) -> Asked {
        let (events, outcome) = self.done().await;
        let result = outcome.unwrap();
        let asked = InputRequired::read(&result).unwrap_or_else(|| panic!("no question: {result:?}")).unwrap();
        Asked { asked, events }
    }

    async fn error(self) -> Error {
        self.outcome().await.unwrap_err()
    }

    /// Drops the reply and waits until it is gone.
    pub(super) async fn cancel(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

impl Peer {
    async fn new(change: impl FnOnce(&mut Waits)) -> Self {
        Self::with("{}", change).await
    }

    pub(super) async fn with(capabilities: &'static str, change: impl FnOnce(&mut Waits)) -> Self {
        let server = legacy(capabilities, |request| (request.method == Method::SetLevel).then(|| Ok(json("{}"))));
        let mut waits = Waits {
            gather: Duration::from_millis(5),
            first: Duration::ZERO,
            attribute: LONG,
            cancelled: LONG,
            parked: LONG,
            give_way: LONG,
        };
        change(&mut waits);
        *server.waits.lock().unwrap() = waits;
        let connected = server.connect(EraChoice::Auto).await.unwrap();
        Self { server, connected }
    }

    pub(super) fn run(&self, call: UpstreamCall) -> Running {
        let mut reply = self.connected.upstream.call(call);
        Running(tokio::spawn(async move {
            let mut events = Vec::new();
            while let Some(event) = futures::StreamExt::next(&mut reply).await {
                match event {
                    Event::Done(outcome) => return (events, outcome),
                    event => events.push(event),
                }
            }
            panic!("no outcome");
        }))
    }

    /// Calls a tool, and waits until the server has the call: the reply, and our id.
    pub(super) async fn start(&self, name: &str, declared: &str) -> (Running, i64) {
        let before = self.server.sent();
        let running = self.run(tool(name, declared, ""));
        (running, self.server.id_of_next(&format!("\"{name}\""), before).await)
    }

    fn retry(&self, name: &str, state: &str, responses: &str) -> Running {
        self.run(again(name, state, responses))
    }

    /// The server asks; on the stream of the call of this id, or beside it.
    pub(super) async fn ask_as(&self, id: RequestId, method: Method, params: &str, call: Option<i64>) {
        let request = Request { id, method, params: Some(json(params)) };
        self.server.unasked().send(Unasked::Request { request, call }).await.unwrap();
    }

    async fn ask(&self, id: &str, method: Method, params: &str, call: Option<i64>) {
        self.ask_as(RequestId::String(id.into()), method, params, call).await;
    }

    async fn elicit(&self, id: &str, call: Option<i64>) {
        self.ask(id, Method::ElicitationCreate, FORM, call).await;
    }

    /// A call that has been asked once: what its caller was told, and our id.
    async fn parked(&self, name: &str, question: &str, on_stream: bool) -> (Asked, i64) {
        let (running, id) = self.start(name, ALL).await;
        self.elicit(question, on_stream.then_some(id)).await;
        (running.asked().await, id)
    }

    pub(super) fn finish(&self, id: i64, result: &str) {
        assert!(self.server.calls.finish(id, Ok(json(result))), "the call was over");
    }

    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        self.server.desk.lock().unwrap().as_ref().unwrap().sizes()
    }

    /// Waits until nothing is left of any call.
    pub(super) async fn idle(&self) {
        let idle = async {
            while self.sizes() != (0, 0, 0) || !self.server.calls.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        if tokio::time::timeout(LONG, idle).await.is_err() {
            panic!("left over: {:?}, {} calls on the wire", self.sizes(), self.server.calls.len());
        }
    }

    /// Waits until the pump has taken everything that was said so far.
    pub(super) async fn settled(&self) {
        let mark = format!("mark-{}", self.server.log.borrow().len());
        self.ask(&mark, Method::Ping, "{}", None).await;
        self.server.saw(&mark).await;
    }
}

pub(super) fn tool(name: &str, declared: &str, more_meta: &str) -> UpstreamCall {
    let params = format!(
        r#"{{"name":"{name}","_meta":{{"io.modelcontextprotocol/clientCapabilities":{declared}{more_meta}}}}}"#
    );
    call(Method::ToolsCall, &params)
}

/// A retry by a caller that declared everything.
pub(super) fn again(name: &str, state: &str, responses: &str) -> UpstreamCall {
    again_with(name, state, responses, "")
}

fn again_with(name: &str, state: &str, responses: &str, more_meta: &str) -> UpstreamCall {
    let mut call = tool(name, ALL, more_meta);
    let state = spanwire_mcp::string_literal(state);
    call.params =
        call.params.with(&[("requestState", state.as_bytes()), ("inputResponses", responses.as_bytes())], &[]);
    call
}

const ACCEPT: &str = r#"{"action":"accept","content":{}}"#;
const RESULT: &str = r#"{"content":[]}"#;
const COMPLETE: &str = r#"{"resultType":"complete","content":[]}"#;
