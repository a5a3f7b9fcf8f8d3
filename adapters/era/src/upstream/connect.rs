//! Finds out the era of a server and shakes hands with it.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use spanwire_mcp::{Era, Json, Method, ObjectWriter, Revision, meta, string_literal};
use spanwire_model::{Connected, EraChoice, Error, ErrorKind, Result, ServerFacts, ServerId, Upstream};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    desk::Desk,
    interactive::{Session, at},
    legacy::Legacy,
    level::Level,
    line::Line,
    listeners::Listeners,
    modern::{Modern, watch_lists},
    notices::{Board, NOTICES},
    outgoing::Outgoing,
    pump::Pump,
    requests::{Answers, CAPABILITIES},
    shared::Shared,
    tasks::Tasks,
    wire::{Discovery, Unasked, Wire, WireRequest},
};

/// How long a server may take.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// To answer the probe `server/discover`, before silence means that it is a legacy server.
    pub probe: Duration,
    /// To answer `initialize`, or `server/discover` where silence proves nothing. A first start may download it.
    pub handshake: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { probe: Duration::from_secs(5), handshake: Duration::from_secs(60) }
    }
}

/// How long is waited around what a legacy server asks in the middle of a call.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// After the first request, for further ones that go into the same `input_required`.
    pub gather: Duration,
    /// For its turn, of a call that is made the first time on a connection where the server does not say which call it asks for: one
    /// at a time shows which of them ask.
    pub first: Duration,
    /// Until it is clear to which of several calls a request belongs; meanwhile the connection takes no further calls.
    pub attribute: Duration,
    /// As long as a server may go on with a call that was cancelled, and ask. Meanwhile no request is taken for another call's,
    /// unless it came on that call's own stream.
    pub cancelled: Duration,
    /// For the retry. A call that nobody comes back for is cancelled then.
    pub parked: Duration,
    /// For the retry, when another call waits for its turn to ask: then the server is told that there is no answer.
    pub give_way: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            gather: Duration::from_millis(20),
            first: Duration::from_secs(1),
            attribute: Duration::from_secs(10),
            cancelled: Duration::from_secs(30),
            parked: Duration::from_secs(600),
            give_way: Duration::from_secs(30),
        }
    }
}

/// What every connection needs to know of us.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `clientInfo`: an object with `name` and `version`.
    pub client_info: Json,
    /// How long a server may take.
    pub timeouts: Timeouts,
    /// How long is waited around what a legacy server asks.
    pub waits: Waits,
}

impl Settings {
    /// Settings with the defaults.
    pub fn new(client_info: Json) -> Self {
        Self { client_info, timeouts: Timeouts::default(), waits: Waits::default() }
    }
}

/// What a server said of itself in either handshake.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Greeting {
    #[serde(default)]
    protocol_version: Option<String>,
    #[serde(default)]
    supported_versions: Vec<String>,
    #[serde(default)]
    capabilities: Option<Json>,
    #[serde(default)]
    server_info: Option<Json>,
    #[serde(default)]
    instructions: Option<String>,
    #[serde(default, rename = "_meta")]
    meta: Option<Json>,
}

/// Finds out the era over a fresh wire, shakes hands, and returns the server in the canonical form. `unasked` is the
/// channel that the wire fills. Dropping the future drops the wire.
pub async fn connect(
    server: &ServerId,
    wire: Arc<dyn Wire>,
    unasked: mpsc::Receiver<Unasked>,
    choice: EraChoice,
    known: Option<Era>,
    settings: &Settings,
) -> Result<Connected> {
    open(server, wire, unasked, choice, known, settings).await.map(|(connected, _)| connected)
}

/// The same, with what is known of calls that ask.
pub(super) async fn open(
    server: &ServerId,
    wire: Arc<dyn Wire>,
    unasked: mpsc::Receiver<Unasked>,
    choice: EraChoice,
    known: Option<Era>,
    settings: &Settings,
) -> Result<(Connected, Arc<Desk>)> {
    let line = Arc::new(Line::new(server.as_str().into(), wire, settings.client_info.clone()));
    let stop = CancellationToken::new();
    let stop_guard = stop.clone().drop_guard();
    let (board, listeners, level) = <(Arc<Board>, Arc<Listeners>, Arc<Level>)>::default();
    let (answers, courier) = Answers::new(line.server.clone());
    let tasks = Arc::new(Tasks::new(line.clone(), answers.clone(), stop.clone()));
    let desk = Arc::new(Desk::new(&line, settings.waits, answers));
    let (notices_tx, notices) = mpsc::channel(NOTICES);
    let pump = Pump {
        line: line.clone(),
        board: board.clone(),
        listeners: listeners.clone(),
        level: level.clone(),
        tasks: tasks.clone(),
        desk: desk.clone(),
        stop: stop.clone(),
    };
    // From here on: a server may ping in the middle of the handshake.
    tokio::spawn(pump.run(unasked));
    tokio::spawn(courier.run(line.clone(), stop.clone()));
    let said = board.clone();
    tokio::spawn(async move { said.run(notices_tx).await });

    let handshake = Handshake { line: &line, settings, choice };
    let facts = handshake.run(known).await.map_err(|error| during_connect(&line.server, error))?;
    let facts = tasks.offered(facts);
    let upstream: Arc<dyn Upstream> = match facts.era() {
        Era::Modern => {
            tokio::spawn(watch_lists(line.clone(), facts.clone(), board, stop));
            Arc::new(Modern { shared: Shared::new(line.clone()), line, _stop: stop_guard })
        }
        Era::Legacy => {
            let (watchers, on) = (listeners.clone(), line.clone());
            tokio::spawn(async move { watchers.run(on, stop).await });
            let session = Session { line, level, desk: desk.clone(), waits: settings.waits };
            Arc::new(Legacy { session, facts: facts.clone(), listeners, tasks, _stop: stop_guard })
        }
    };
    Ok((Connected { upstream, facts, notices }, desk))
}

/// An error of the handshake as the owner of the connection sees it: nothing was executed, whatever was sent.
fn during_connect(server: &str, error: Error) -> Error {
    match error.kind {
        ErrorKind::StreamLost => Error { kind: ErrorKind::Unavailable, ..error },
        ErrorKind::Server => {
            let text = format!("server \"{server}\" refused the handshake: {}", error.public);
            Error::new(ErrorKind::BadServer, text)
        }
        _ => error,
    }
}

struct Handshake<'a> {
    line: &'a Line,
    settings: &'a Settings,
    choice: EraChoice,
}

impl Handshake<'_> {
    async fn run(&self, known: Option<Era>) -> Result<ServerFacts> {
        let facts = match (self.choice, known) {
            (EraChoice::Legacy, _) => self.initialize().await?,
            (EraChoice::Modern, _) => self.discover().await?,
            (EraChoice::Auto, Some(Era::Legacy)) => self.greet().await?,
            (EraChoice::Auto, Some(Era::Modern) | None) => self.probe().await?,
        };
        self.line.settle(facts.revision);
        if facts.era() == Era::Legacy {
            self.line.notify(Method::Initialized).await?;
        }
        Ok(facts)
    }

    fn discover_request(&self) -> WireRequest {
        let revision = Revision::CANONICAL;
        let params = Outgoing { params: &Json::empty_object(), progress_token: None, trace: None }
            .modern(revision, &self.line.client_info);
        WireRequest { id: self.line.next_id(), revision, method: Method::Discover, params, trace: None }
    }

    async fn discover(&self) -> Result<ServerFacts> {
        let within = self.settings.timeouts.handshake;
        let asked = self.line.wire.discover(self.discover_request());
        match timeout(within, asked).await {
            Ok(discovery) => self.decide(discovery).await,
            Err(_) => Err(self.silent(&Method::Discover, within)),
        }
    }

    /// Modern first; the question stays open while `initialize` is tried, because a server may only be slow to start.
    async fn probe(&self) -> Result<ServerFacts> {
        if !self.line.wire.silence_is_legacy() {
            return self.discover().await;
        }
        let mut asked = pin!(self.line.wire.discover(self.discover_request()));
        if let Ok(discovery) = timeout(self.settings.timeouts.probe, &mut asked).await {
            return self.decide(discovery).await;
        }
        self.both(pin!(self.initialize()), asked).await
    }

    /// The handshake first, because the server was legacy the last time. When it refuses or is silent, what was known may be wrong.
    async fn greet(&self) -> Result<ServerFacts> {
        let mut initialized = pin!(self.initialize());
        match timeout(self.settings.timeouts.probe, &mut initialized).await {
            Ok(Err(error)) if disproves(&error) => self.probe().await,
            Ok(outcome) => outcome,
            Err(_) => {
                let asked = pin!(self.line.wire.discover(self.discover_request()));
                self.both(initialized, asked).await
            }
        }
    }

    /// Both questions are open. The handshake wins, because a server that takes it is in a session from then on; one that has
    /// proved to be modern gets no more than another moment for it.
    async fn both(
        &self,
        mut initialized: Pin<&mut (impl Future<Output = Result<ServerFacts>> + Send)>,
        mut asked: Pin<&mut (impl Future<Output = Discovery> + Send)>,
    ) -> Result<ServerFacts> {
        let probe = self.settings.timeouts.probe;
        let (mut late, mut until) = (None, None);
        let error = loop {
            tokio::select! {
                outcome = &mut initialized => match outcome {
                    Ok(facts) => return Ok(facts),
                    Err(error) => break error,
                },
                discovery = &mut asked, if late.is_none() => {
                    until = matches!(discovery, Discovery::Modern(_)).then(|| Instant::now() + probe);
                    late = Some(discovery);
                }
                () = at(until) => break self.silent(&Method::Initialize, probe),
            }
        };
        let discovery = match late {
            Some(discovery) => discovery,
            None => timeout(probe, asked).await.map_err(|_| error.clone())?,
        };
        match discovery {
            Discovery::Modern(result) => self.modern_facts(&result),
            Discovery::Refused(_) | Discovery::NotModern(_) | Discovery::Unproved(_) => Err(error),
        }
    }

    async fn decide(&self, discovery: Discovery) -> Result<ServerFacts> {
        match discovery {
            Discovery::Modern(result) => match self.modern_facts(&result) {
                Err(error) if error.kind == ErrorKind::UnsupportedVersion => {
                    let supported = result.get("supportedVersions");
                    self.older(supported).await
                }
                facts => facts,
            },
            Discovery::Refused(error) if error.code == Some(spanwire_mcp::codes::UNSUPPORTED_PROTOCOL_VERSION) => {
                self.older(error.data.and_then(|data| data.get("supported"))).await
            }
            Discovery::Refused(error) | Discovery::Unproved(error) => Err(error),
            Discovery::NotModern(_) if self.choice == EraChoice::Auto => self.initialize().await,
            Discovery::NotModern(said) => {
                let text = format!("server \"{}\" does not speak {}: {said}", self.line.server, Revision::CANONICAL);
                Err(Error::new(ErrorKind::Unavailable, text))
            }
        }
    }

    /// A server that knows `server/discover` but not our revision: the handshake, if it lists a revision that has one.
    async fn older(&self, supported: Option<Json>) -> Result<ServerFacts> {
        let supported: Vec<String> = supported.and_then(|list| list.read().ok()).unwrap_or_default();
        let legacy = |name: &String| name.parse::<Revision>().is_ok_and(|revision| revision.era() == Era::Legacy);
        if self.choice == EraChoice::Auto && supported.iter().any(legacy) {
            return self.initialize().await;
        }
        let text = format!("server \"{}\" speaks only {}", self.line.server, supported.join(", "));
        Err(Error::new(ErrorKind::Unavailable, text))
    }

    fn modern_facts(&self, result: &Json) -> Result<ServerFacts> {
        let greeting = self.read(&Method::Discover, result)?;
        if !greeting.supported_versions.iter().any(|name| name == Revision::CANONICAL.as_str()) {
            return Err(Error::new(ErrorKind::UnsupportedVersion, "no revision in common"));
        }
        let info = greeting.meta.and_then(|meta_in| meta_in.get(meta::SERVER_INFO));
        Ok(ServerFacts {
            revision: Revision::CANONICAL,
            info: object_or_empty(info),
            capabilities: object_or_empty(greeting.capabilities),
            instructions: greeting.instructions,
        })
    }

    async fn initialize(&self) -> Result<ServerFacts> {
        let within = self.settings.timeouts.handshake;
        let mut params = ObjectWriter::with_capacity(256);
        params.member("protocolVersion", string_literal(Revision::LATEST_LEGACY.as_str()).as_bytes());
        params.member("capabilities", CAPABILITIES.as_bytes());
        params.member("clientInfo", self.line.client_info.as_bytes());
        let request = WireRequest {
            id: self.line.next_id(),
            revision: Revision::LATEST_LEGACY,
            method: Method::Initialize,
            params: params.finish(),
            trace: None,
        };
        let asked = self.line.wire.request(request).outcome();
        let result = timeout(within, asked).await.map_err(|_| self.silent(&Method::Initialize, within))??;
        let greeting = self.read(&Method::Initialize, &result)?;
        let version = greeting.protocol_version.unwrap_or_default();
        let revision = version.parse::<Revision>().map_err(|error| {
            Error::new(
                ErrorKind::BadServer,
                format!("server \"{}\" answered initialize with an {error}", self.line.server),
            )
        })?;
        Ok(ServerFacts {
            revision,
            info: object_or_empty(greeting.server_info),
            capabilities: object_or_empty(greeting.capabilities),
            instructions: greeting.instructions,
        })
    }

    fn read(&self, method: &Method, result: &Json) -> Result<Greeting> {
        result.read().map_err(|error| {
            let text = format!("server \"{}\" answered {method} with something else: {error}", self.line.server);
            Error::new(ErrorKind::BadServer, text)
        })
    }

    fn silent(&self, method: &Method, within: Duration) -> Error {
        let (server, ms) = (&self.line.server, within.as_millis());
        Error::new(ErrorKind::Unavailable, format!("server \"{server}\" did not answer {method} within {ms} ms"))
    }
}

/// True when the server itself has refused the handshake, in whatever form: a modern one on HTTP answers with statuses 400, 404 or
/// 405 and any body. Not being reached, load and time prove nothing.
fn disproves(error: &Error) -> bool {
    match error.kind {
        ErrorKind::Server
        | ErrorKind::BadServer
        | ErrorKind::Malformed
        | ErrorKind::InvalidRequest
        | ErrorKind::MethodNotFound
        | ErrorKind::InvalidParams
        | ErrorKind::HeaderMismatch
        | ErrorKind::UnsupportedVersion
        | ErrorKind::MissingCapability
        | ErrorKind::SessionGone
        | ErrorKind::Conflict
        | ErrorKind::QuotaExceeded
        | ErrorKind::TooLarge => true,
        ErrorKind::Unauthenticated
        | ErrorKind::Denied
        | ErrorKind::Overloaded
        | ErrorKind::Unavailable
        | ErrorKind::DeadlineExceeded
        | ErrorKind::Cancelled
        | ErrorKind::StreamLost
        | ErrorKind::Internal => false,
    }
}

fn object_or_empty(json: Option<Json>) -> Json {
    json.filter(Json::is_object).unwrap_or_else(Json::empty_object)
}
