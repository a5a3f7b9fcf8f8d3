//! The whole door over real sockets, with a scripted node behind it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod agents;
mod backup;
mod calls;
mod catalog;
mod fixtures;
mod pages;
mod status;
mod traces;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    ops::RangeInclusive,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use spanwire_mcp::{Json, Method, Notification, Revision};
use spanwire_model::{
    Agent, AgentId, AgentPage, AgentQuery, Author, Call, Dispatch, EraChoice, Error, ErrorKind, Event, Health, Holding,
    Inventory, KnownAgent, ListKind, Listing, ListingEntry, NodeId, Reply, Result, ServerEntry, ServerFacts, ServerId,
    ServerSpec, ServerState, Shard, ShardState, ShardStatus,
};
use spanwire_rpc::{MAX_MESSAGE_BYTES, v1::broker_client::BrokerClient};
use tokio::{
    net::TcpListener,
    sync::{broadcast, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use self::fixtures::{server, trace};
use crate::{
    Control, ControlToken, Listener, ServeError, SpanKind, SpanRecord, Status, TelemetryStatus, Trace, TraceFilter,
    TraceMatch, TraceSummary, serve_grpc,
};

/// Longest that a test waits for what must come.
const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// A node that does what its script says.
struct Scripted {
    inventory: watch::Sender<Arc<Inventory>>,
    dispatch: Arc<Tools>,
    traces: Vec<Trace>,
    ended: broadcast::Sender<TraceSummary>,
    added: Mutex<Vec<ServerSpec>>,
    /// Where the last one was to be placed.
    home: Mutex<Option<NodeId>>,
    /// Who asked for what was changed, in order.
    authors: Mutex<Vec<Author>>,
    agents: Mutex<BTreeMap<AgentId, Agent>>,
    node: NodeId,
    telemetry: spanwire_telemetry::Telemetry,
}

/// A router whose tools are named after what they do.
struct Tools {
    calls: Mutex<Vec<Call>>,
    dropped: mpsc::UnboundedSender<String>,
}

/// Says so when the reply is dropped.
struct Dropped(mpsc::UnboundedSender<String>, String);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(std::mem::take(&mut self.1));
    }
}

fn notification(method: Method, params: String) -> Notification {
    Notification { method, params: Some(Json::from_trusted(params)) }
}

impl Tools {
    /// Seven tools in pages of two, with a tool in the middle that nobody can read.
    fn page(cursor: Option<&str>) -> Json {
        let tool = |index: usize| match index {
            3 => r#"{"name":17}"#.to_owned(),
            _ => format!(
                r#"{{"name":"git__tool{index}","description":"Does Thing {index}","inputSchema":{{"type":"object"}},"annotations":{{"title":"T{index}"}}}}"#
            ),
        };
        let from: usize = cursor.map_or(0, |cursor| cursor.parse().unwrap());
        let next = if from + 2 < 7 { format!(r#","nextCursor":"{}""#, from + 2) } else { String::new() };
        let tools: Vec<String> = (from..(from + 2).min(7)).map(tool).collect();
        Json::from_trusted(format!(r#"{{"tools":[{}]{next}}}"#, tools.join(",")))
    }

    fn tool(name: &str, call: &Call, dropped: Dropped) -> Reply {
        let token = call.params.get("_meta").and_then(|meta| meta.get("progressToken")).unwrap();
        let progress = move |at: u32| {
            let params = format!(r#"{{"progressToken":{},"progress":{at}}}"#, token.as_str());
            Event::Progress(notification(Method::Progress, params))
        };
        match name {
            "steps" => Reply::new(async_stream::stream! {
                let _dropped = dropped;
                yield progress(1);
                yield Event::Notification(notification(Method::LogMessage, r#"{"level":"info","data":"hello"}"#.into()));
                yield progress(2);
                yield Event::Done(Ok(Json::from_trusted(r#"{"content":[],"resultType":"complete"}"#)));
            }),
            "hangs" => Reply::new(async_stream::stream! {
                let _dropped = dropped;
                yield progress(1);
                futures::future::pending::<()>().await;
            }),
            "large" => Reply::ready(Ok(Json::from_trusted(format!(r#"{{"x":"{}"}}"#, "y".repeat(20 << 20))))),
            _ => Reply::ready(Err(Error::new(ErrorKind::InvalidParams, format!("unknown tool \"{name}\"")))),
        }
    }
}

impl Dispatch for Tools {
    fn dispatch(&self, call: Call) -> Reply {
        self.calls.lock().unwrap().push(call.clone());
        let params = call.params.to_value();
        match call.method {
            Method::ToolsList => Reply::ready(Ok(Self::page(params["cursor"].as_str()))),
            Method::ToolsCall => {
                let name = params["name"].as_str().unwrap();
                Self::tool(name, &call, Dropped(self.dropped.clone(), name.to_owned()))
            }
            method => Reply::ready(Err(Error::new(ErrorKind::MethodNotFound, format!("unknown method \"{method}\"")))),
        }
    }

    fn has_view(&self, _: &spanwire_model::Principal, view: &str) -> bool {
        view == "team"
    }
}

#[async_trait]
impl Control for Scripted {
    fn watch(&self) -> watch::Receiver<Arc<Inventory>> {
        self.inventory.subscribe()
    }

    fn node(&self) -> &NodeId {
        &self.node
    }

    async fn add(&self, author: Author, spec: ServerSpec, home: Option<NodeId>, replace: bool) -> Result<()> {
        self.authors.lock().unwrap().push(author);
        let taken = self.inventory.borrow().servers.iter().any(|server| server.local && server.id == spec.id);
        if taken && !replace {
            return Err(Error::new(ErrorKind::Conflict, format!("server \"{}\" exists", spec.id)));
        }
        *self.home.lock().unwrap() = home;
        let entry = server(spec.id.as_str(), "here", ServerState::Starting, 0);
        self.added.lock().unwrap().push(spec);
        self.change(|servers| {
            servers.retain(|server| !(server.local && server.id == entry.id));
            servers.push(entry);
        });
        Ok(())
    }

    async fn remove(&self, author: Author, id: &ServerId) -> Result<bool> {
        self.authors.lock().unwrap().push(author);
        let before = self.inventory.borrow().servers.len();
        self.change(|servers| servers.retain(|server| !(server.local && server.id == *id)));
        Ok(self.inventory.borrow().servers.len() < before)
    }

    async fn add_agent(&self, author: Author, id: &AgentId, card: Json, replace: bool) -> Result<bool> {
        let mut agents = self.agents.lock().unwrap();
        if agents.contains_key(id) && !replace {
            let error = Error::new(ErrorKind::Conflict, format!("agent \"{id}\" exists"));
            return Err(error.with_data(Json::from_trusted(r#"{"by":"ada"}"#)));
        }
        let (by, node) = (author.principal.clone(), author.node.clone());
        let known = KnownAgent { card, by, node, time_ms: 5, version: 7 };
        self.authors.lock().unwrap().push(author);
        Ok(agents.insert(id.clone(), Agent { id: id.clone(), known: Some(known) }).is_some())
    }

    async fn remove_agent(&self, author: Author, id: &AgentId) -> Result<bool> {
        self.authors.lock().unwrap().push(author);
        Ok(self.agents.lock().unwrap().remove(id).is_some())
    }

    fn agents(&self, query: &AgentQuery) -> Result<AgentPage> {
        let agents = self.agents.lock().unwrap();
        let asked = |agent: &&Agent| {
            query.id.as_ref().is_none_or(|id| agent.id == *id) && query.after.as_ref().is_none_or(|id| agent.id > *id)
        };
        let page: Vec<Agent> = agents.values().filter(asked).take(query.limit).cloned().collect();
        let next = page.last().filter(|_| page.len() == query.limit).map(|agent| agent.id.clone());
        Ok(AgentPage { agents: page, next, total: agents.len() as u64 })
    }

    fn dispatch(&self) -> Arc<dyn Dispatch> {
        self.dispatch.clone()
    }

    fn contexts(&self) -> Option<spanwire_context::Contexts> {
        None
    }

    fn telemetry(&self) -> &spanwire_telemetry::Telemetry {
        &self.telemetry
    }

    fn traces(&self, filter: &TraceFilter, limit: usize) -> Vec<TraceSummary> {
        let wanted = self.traces.iter().filter(|trace| !filter.errors_only || trace.summary.errors > 0);
        wanted.take(limit).map(|trace| trace.summary.clone()).collect()
    }

    async fn trace(&self, ids: RangeInclusive<u128>) -> TraceMatch {
        let mut found = self.traces.iter().filter(|trace| ids.contains(&trace.summary.trace_id));
        match (found.next(), found.next()) {
            (None, _) => TraceMatch::None,
            (Some(trace), None) => TraceMatch::One(Box::new(trace.clone())),
            (Some(_), Some(_)) => TraceMatch::Many,
        }
    }

    fn follow(&self, filter: TraceFilter) -> BoxStream<'static, TraceSummary> {
        let mut ended = self.ended.subscribe();
        Box::pin(async_stream::stream! {
            while let Ok(trace) = ended.recv().await {
                if !filter.errors_only || trace.errors > 0 {
                    yield trace;
                }
            }
        })
    }

    fn backup(&self) -> BoxStream<'static, Result<bytes::Bytes>> {
        let broken = Err(Error::new(ErrorKind::Internal, "the disk is gone"));
        Box::pin(futures::stream::iter([Ok("one ".into()), Ok("two".into()), broken]))
    }

    fn status(&self) -> Status {
        Status {
            node: "here".parse().unwrap(),
            version: "1.2.3".into(),
            uptime: Duration::from_millis(1500),
            settled: true,
            listeners: vec![Listener {
                name: "grpc".into(),
                address: "127.0.0.1:7401".into(),
                era: Some(EraChoice::Legacy),
            }],
            backbone: "memory".into(),
            backbone_connected: true,
            in_flight: 4,
            sessions: 5,
            telemetry: TelemetryStatus { endpoint: None, exported: 1, failed: 2, dropped: 3, held: 4 },
            ledger: "local",
            shards: vec![ShardStatus {
                shard: Shard::REGISTRY,
                state: ShardState::CutOff,
                detail: Some("the log does not answer".into()),
                applied: 5,
                last: 7,
                first: 2,
                hash: "ab".into(),
                replicas: 3,
                stale: Some(Duration::from_millis(1500)),
            }],
            agents: 6,
            leases: Arc::new([("duty".into(), Holding { node: "there".parse().unwrap(), token: 9 })].into()),
        }
    }

    fn metrics(&self) -> String {
        "# EOF\n".into()
    }
}

impl Scripted {
    fn change(&self, edit: impl FnOnce(&mut Vec<Arc<ServerEntry>>)) {
        self.inventory.send_modify(|inventory| {
            let inventory = Arc::make_mut(inventory);
            edit(&mut inventory.servers);
            inventory.version += 1;
        });
    }
}

/// A scripted node with its gRPC server.
struct Node {
    control: Arc<Scripted>,
    address: SocketAddr,
    dropped: mpsc::UnboundedReceiver<String>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Node {
    async fn start(token: Option<&str>) -> Self {
        let token = token.map(|token| ControlToken::new(token).unwrap());
        Self::serve(|listener, control, shutdown| serve_grpc(listener, control, token, shutdown)).await
    }

    async fn serve<F>(serve: impl FnOnce(TcpListener, Arc<Scripted>, CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<(), ServeError>> + Send + 'static,
    {
        let (dropped_tx, dropped) = mpsc::unbounded_channel();
        let servers = vec![
            server("git", "here", ServerState::Ready, 7),
            server("git", "there", ServerState::Degraded, 7),
            server("old", "there", ServerState::Down, 2),
        ];
        let node = |id: &str| spanwire_model::NodeInfo {
            id: id.parse().unwrap(),
            state: spanwire_model::NodeState::Alive,
            version: "0".into(),
            silent: Duration::ZERO,
        };
        let nodes = vec![node("there"), node("here")];
        let control = Arc::new(Scripted {
            inventory: watch::Sender::new(Arc::new(Inventory { version: 1, servers, nodes, wanted: Vec::new() })),
            dispatch: Arc::new(Tools { calls: Mutex::default(), dropped: dropped_tx }),
            traces: vec![trace(0xaaaa << 112, 0), trace((0xaaaa << 112) + 1, 1), trace(0xbbbb << 112, 1)],
            ended: broadcast::Sender::new(16),
            added: Mutex::default(),
            home: Mutex::default(),
            authors: Mutex::default(),
            agents: Mutex::default(),
            node: "here".parse().unwrap(),
            telemetry: spanwire_telemetry::Telemetry::disabled("here".parse().unwrap()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serve = serve(listener, control.clone(), shutdown.clone());
        let serving = tokio::spawn(async move { serve.await.unwrap() });
        Self { control, address, dropped, shutdown, serving }
    }

    async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    async fn client(&self) -> BrokerClient<Channel> {
        BrokerClient::new(self.channel().await).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Shuts down and waits for the end of the server, which must not need its time limit.
    async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(8), self.serving).await.expect("the server ends by itself").unwrap();
    }
}

/// The stable name of the kind of an error.
fn kind(status: &tonic::Status) -> &str {
    status.metadata().get(spanwire_rpc::ERROR_KIND_METADATA).unwrap().to_str().unwrap()
}

async fn first<T>(stream: &mut tonic::Streaming<T>) -> T {
    soon("a message", stream.next()).await.expect("a message").expect("no error")
}
