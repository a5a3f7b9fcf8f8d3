//! A stand-in for a node: the control API with one server, four tools and one trace.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use spanwire_rpc::v1::{self, broker_server, call_event::Event};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

use super::{Place, Run};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A running stand-in. Dropping it stops it.
pub(super) struct Node {
    url: String,
    pub(super) place: Place,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    added: Mutex<BTreeMap<usize, (String, String)>>,
    agents: Mutex<BTreeMap<String, v1::AgentInfo>>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Run {
    pub(super) fn expect_part(&self, part: &str) {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(all.contains(part), "expected {part:?} in: {all}");
    }
}

impl Node {
    /// Runs a command against it.
    pub(super) async fn run(&self, args: &[&str]) -> Run {
        let mut command = self.place.command(args);
        command.env("SPANWIRE_NODE", &self.url);
        tokio::task::spawn_blocking(move || command.output().unwrap().into()).await.unwrap()
    }

    /// The specs that were added, as text, in order.
    pub(super) fn added(&self) -> Vec<String> {
        self.state.added.lock().unwrap().values().map(|(_, text)| text.clone()).collect()
    }
}

pub(super) async fn start() -> Node {
    start_with_token("").await
}

/// One that wants this token.
pub(super) async fn start_with_token(token: &str) -> Node {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let url = format!("http://{}", incoming.local_addr().unwrap());
    let state = Arc::new(State::default());
    let expected = format!("Bearer {token}");
    let guard = move |request: Request<()>| match request.metadata().get("authorization") {
        _ if expected == "Bearer " => Ok(request),
        Some(given) if given.as_bytes() == expected.as_bytes() => Ok(request),
        _ => Err(Status::unauthenticated("no token, or another one")),
    };
    let service = broker_server::BrokerServer::with_interceptor(StandIn(state.clone()), guard);
    let serving = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
    let task = tokio::spawn(async move { serving.await.unwrap() });
    Node { url, place: Place::new(), state, task }
}

struct StandIn(Arc<State>);

fn git() -> v1::ServerInfo {
    v1::ServerInfo {
        id: "git".into(),
        node: "node-a".into(),
        local: true,
        transport: "stdio".into(),
        state: v1::ServerState::Ready.into(),
        era: v1::Era::Legacy.into(),
        revision: "2025-11-25".into(),
        tools: 4,
        source: v1::Source::Config.into(),
        placement: v1::Placement::Here.into(),
        ..v1::ServerInfo::default()
    }
}

/// One that no node runs, one of which too few run, and one that a configuration file hides.
fn wanted() -> Vec<v1::WantedServer> {
    let registry = |id: &str| v1::WantedServer {
        id: id.into(),
        source: v1::Source::Registry.into(),
        placement: v1::Placement::Any.into(),
        replicas: 2,
        by: "operator".into(),
        version: 7,
        ..v1::WantedServer::default()
    };
    let here = v1::WantedServer {
        placement: v1::Placement::Here.into(),
        replicas: 1,
        home: "node-c".into(),
        ..registry("docs")
    };
    let hidden = v1::WantedServer { running: 1, shadowed_on: vec!["node-a".into()], ..registry("git") };
    vec![here, registry("fs"), hidden]
}

fn tool(name: &str) -> v1::Tool {
    let schema = r#"{"type":"object","properties":{"limit":{"type":"integer"},"since":{"type":"string"}}}"#;
    v1::Tool {
        name: format!("git__{name}"),
        server: "git".into(),
        nodes: vec!["node-a".into()],
        description: format!("Shows the {name}\nand more"),
        input_schema_json: Bytes::from_static(schema.as_bytes()),
        ..v1::Tool::default()
    }
}

fn summary() -> v1::TraceSummary {
    v1::TraceSummary {
        trace_id: TRACE.into(),
        name: "tools/call git__log".into(),
        end_unix_nanos: 2_000_000,
        spans: 2,
        nodes: vec!["node-a".into()],
        ..v1::TraceSummary::default()
    }
}

fn span(id: &str, parent: &str, name: &str) -> v1::Span {
    v1::Span {
        trace_id: TRACE.into(),
        span_id: id.into(),
        parent_span_id: parent.into(),
        name: name.into(),
        kind: v1::SpanKind::Server.into(),
        end_unix_nanos: 2_000_000,
        ..v1::Span::default()
    }
}

fn describe(spec: &v1::ServerSpec) -> String {
    use v1::server_spec::Target;
    match spec.target.as_ref().unwrap() {
        Target::Stdio(stdio) => {
            let place = match spec.placement() {
                v1::Placement::Any => format!(" any {}", spec.replicas),
                v1::Placement::Unspecified | v1::Placement::Here => String::new(),
            };
            format!("{} {} {:?} {:?} era {}{place}", spec.id, stdio.command, stdio.args, stdio.env, spec.era)
        }
        Target::Http(http) => format!("{} {} {:?}", spec.id, http.url, http.headers),
    }
}

fn call_error(kind: &str, message: &str) -> Event {
    Event::Error(v1::CallError { kind: kind.into(), message: message.into(), ..v1::CallError::default() })
}

type Events<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl broker_server::Broker for StandIn {
    async fn add_server(
        &self,
        request: Request<v1::AddServerRequest>,
    ) -> Result<Response<v1::AddServerResponse>, Status> {
        let spec = request.into_inner().spec.unwrap();
        let mut added = self.0.added.lock().unwrap();
        if added.values().any(|(id, _)| *id == spec.id) {
            return Err(Status::invalid_argument(format!("server \"{}\" is already there", spec.id)));
        }
        let next = added.keys().last().map_or(0, |last| last + 1);
        added.insert(next, (spec.id.clone(), describe(&spec)));
        Ok(Response::new(v1::AddServerResponse { server: None }))
    }

    async fn remove_server(
        &self,
        request: Request<v1::RemoveServerRequest>,
    ) -> Result<Response<v1::RemoveServerResponse>, Status> {
        let id = request.into_inner().id;
        let mut added = self.0.added.lock().unwrap();
        let before = added.len();
        added.retain(|_, (added, _)| *added != id);
        Ok(Response::new(v1::RemoveServerResponse { removed: added.len() < before }))
    }

    async fn list_servers(
        &self,
        _: Request<v1::ListServersRequest>,
    ) -> Result<Response<v1::ListServersResponse>, Status> {
        Ok(Response::new(v1::ListServersResponse { version: 1, servers: vec![git()], wanted: wanted() }))
    }

    async fn add_agent(&self, request: Request<v1::AddAgentRequest>) -> Result<Response<v1::AddAgentResponse>, Status> {
        let v1::AddAgentRequest { id, card_json, replace } = request.into_inner();
        let mut agents = self.0.agents.lock().unwrap();
        if agents.contains_key(&id) && !replace {
            return Err(Status::failed_precondition(format!("agent \"{id}\" exists already")));
        }
        let (by, node) = ("operator".to_owned(), "node-a".to_owned());
        let agent = v1::AgentInfo { id: id.clone(), card_json, by, node, version: 7, ..v1::AgentInfo::default() };
        let replaced = agents.insert(id, agent).is_some();
        Ok(Response::new(v1::AddAgentResponse { replaced }))
    }

    async fn remove_agent(
        &self,
        request: Request<v1::RemoveAgentRequest>,
    ) -> Result<Response<v1::RemoveAgentResponse>, Status> {
        let removed = self.0.agents.lock().unwrap().remove(&request.into_inner().id).is_some();
        Ok(Response::new(v1::RemoveAgentResponse { removed }))
    }

    /// Pages of one agent.
    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Result<Response<v1::ListAgentsResponse>, Status> {
        let request = request.into_inner();
        let agents = self.0.agents.lock().unwrap();
        let asked = |one: &&v1::AgentInfo| one.id > request.after && (request.id.is_empty() || one.id == request.id);
        let page: Vec<v1::AgentInfo> = agents.values().filter(asked).take(1).cloned().collect();
        let next = page.first().filter(|_| request.id.is_empty()).map(|one| one.id.clone()).unwrap_or_default();
        Ok(Response::new(v1::ListAgentsResponse { agents: page, next, total: agents.len() as u64 }))
    }

    async fn list_tools(
        &self,
        request: Request<v1::ListToolsRequest>,
    ) -> Result<Response<v1::ListToolsResponse>, Status> {
        let query = request.into_inner().query;
        let tools = ["log", "fail", "slow", "denied"].map(tool).into_iter().filter(|tool| tool.name.contains(&query));
        Ok(Response::new(v1::ListToolsResponse { tools: tools.collect(), total: 4, truncated: false }))
    }

    type WatchCatalogStream = Events<v1::CatalogChange>;
    async fn watch_catalog(
        &self,
        _: Request<v1::WatchCatalogRequest>,
    ) -> Result<Response<Self::WatchCatalogStream>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    type CallStream = Events<v1::CallEvent>;
    async fn call(&self, request: Request<v1::CallRequest>) -> Result<Response<Self::CallStream>, Status> {
        let request = request.into_inner();
        let arguments = String::from_utf8(request.arguments_json.to_vec()).unwrap().replace('"', "\\\"");
        let events = match request.name.as_str() {
            "git__slow" => vec![call_error("deadline_exceeded", "out of time")],
            "git__denied" => vec![call_error("denied", "not for you")],
            "git__fail" => vec![Event::ResultJson(r#"{"content":[],"isError":true}"#.into())],
            _ => vec![
                Event::ProgressJson(r#"{"progressToken":"x","progress":1,"total":2,"message":"half"}"#.into()),
                Event::ResultJson(format!(r#"{{"content":[{{"type":"text","text":"echo {arguments}"}}]}}"#).into()),
            ],
        };
        let events = events.into_iter().map(|event| Ok(v1::CallEvent { event: Some(event) }));
        Ok(Response::new(stream::iter(events).boxed()))
    }

    async fn list_traces(&self, _: Request<v1::ListTracesRequest>) -> Result<Response<v1::ListTracesResponse>, Status> {
        Ok(Response::new(v1::ListTracesResponse { traces: vec![summary()] }))
    }

    async fn get_trace(&self, request: Request<v1::GetTraceRequest>) -> Result<Response<v1::GetTraceResponse>, Status> {
        let id = request.into_inner().trace_id;
        if !TRACE.starts_with(&id) {
            return Err(Status::not_found(format!("there is no trace {id}")));
        }
        let spans = vec![span("1", "", "POST /mcp"), span("2", "1", "forward")];
        Ok(Response::new(v1::GetTraceResponse { summary: Some(summary()), spans }))
    }

    type BackupStream = Events<v1::BackupPiece>;
    async fn backup(&self, _: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        // Half of one.
        let data = "spanwire backup 1\n".into();
        Ok(Response::new(stream::iter([Ok(v1::BackupPiece { data })]).boxed()))
    }

    type FollowTracesStream = Events<v1::TraceSummary>;
    async fn follow_traces(
        &self,
        _: Request<v1::FollowTracesRequest>,
    ) -> Result<Response<Self::FollowTracesStream>, Status> {
        Ok(Response::new(stream::empty().boxed()))
    }

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        let ready = v1::StateCount { state: v1::ServerState::Ready.into(), count: 1 };
        Ok(Response::new(v1::StatusResponse {
            node: "node-a".into(),
            listeners: [("http", "modern"), ("grpc", "")]
                .map(|(name, era)| v1::Listener { name: name.into(), address: "h:1".into(), era: era.into() })
                .to_vec(),
            servers: vec![ready],
            ready: true,
            ..Default::default()
        }))
    }
}
