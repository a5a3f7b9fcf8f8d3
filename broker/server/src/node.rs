//! The composition root: builds every room from one configuration, in the order of the layers, and takes them down in reverse.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use spanwire_admin::ControlToken;
use spanwire_context::Contexts;
use spanwire_model::{Backbone, Dispatch, Inventory, NodeId, Relayed};
use spanwire_registry::Handle as Registry;
use spanwire_router::Router;
use spanwire_telemetry::Telemetry;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::durable::Durable;
use crate::config::Config;

mod build;
mod connection;
mod connectors;
mod control;
mod durable;
mod files;
mod gate;
mod restore;

pub(crate) use connection::settings as nats_settings;
pub(crate) use restore::{restore, restore_cluster};

/// Longest that telemetry may take to deliver what it holds at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// A node that answers on its addresses. Dropping it without [`RunningNode::shutdown`] stops it at once.
pub(crate) struct RunningNode {
    /// Its id.
    pub(crate) id: NodeId,
    /// Where HTTP answers.
    pub(crate) http_addr: SocketAddr,
    /// Where gRPC answers.
    pub(crate) grpc_addr: SocketAddr,
    /// All servers, now and after each change.
    pub(crate) inventory: watch::Receiver<Arc<Inventory>>,
    registry: Registry,
    router: Router,
    /// Held for the other nodes: the router knows it weakly.
    _sessions: Arc<dyn Relayed>,
    backbone: Arc<dyn Backbone>,
    durable: Arc<Durable>,
    telemetry: Telemetry,
    edges: CancellationToken,
    tasks: TaskTracker,
    grace: Duration,
    drain: Duration,
}

/// Starts a node and returns when it answers. Servers are still starting then: see `inventory`.
pub(crate) async fn start(config: Config) -> anyhow::Result<RunningNode> {
    gate::check(&config)?;
    // The addresses first: a port that is taken should not have started anything.
    let http = bind(config.listen.http, "http").await?;
    let grpc = bind(config.listen.grpc, "grpc").await?;
    let (http_addr, grpc_addr) = (http.local_addr()?, grpc.local_addr()?);

    let data = files::data_dir(&config)?;
    let node = files::node_id(&config, &data)?;
    let (telemetry, otlp_endpoint) = build::telemetry(&config, &node)?;
    let token = files::operator_token(&data)?;
    let Rooms { registry, router, backbone, durable, contexts } = rooms(&config, &node, &data, &telemetry).await?;

    let edges = CancellationToken::new();
    let tasks = TaskTracker::new();
    let dispatch: Arc<dyn Dispatch> = Arc::new(router.clone());
    let edge = build::edge(&config, http_addr, &edges);
    let (grace, drain) = (config.limits.drain_grace_ms, config.limits.shutdown_timeout_ms);
    let control = Arc::new(control::NodeControl {
        node: node.clone(),
        started: std::time::Instant::now(),
        listeners: [("http", http_addr, Some(edge.era)), ("grpc", grpc_addr, None)],
        otlp_endpoint,
        registry: registry.clone(),
        router: router.clone(),
        backbone: backbone.clone(),
        telemetry: telemetry.clone(),
        sessions: edge.sessions.clone(),
        durable: durable.clone(),
        contexts,
        leases_apart: config.has_leases_apart(),
    });
    let id = node.clone();
    let cluster = spanwire_http::server::Cluster { node, relay: Arc::new(router.clone()) };
    let (app, sessions) =
        spanwire_http::server::clustered(edge, dispatch, Arc::new(gate::Tokens(router.clone())), cluster);
    router.serve_sessions(&sessions);
    let app = app.merge(spanwire_admin::http(control.clone()));
    tasks.spawn(spanwire_http::server::serve(http, app, build::connections(&config), edges.clone()));
    let stop = edges.clone();
    tasks.spawn(async move {
        let token = ControlToken::new(&token).ok();
        if let Err(error) = spanwire_admin::serve_grpc(grpc, control, token, stop).await {
            tracing::error!("the control API stopped: {error}");
        }
    });
    let inventory = registry.watch();
    Ok(RunningNode {
        id,
        http_addr,
        grpc_addr,
        inventory,
        registry,
        router,
        _sessions: sessions,
        backbone,
        durable,
        telemetry,
        edges,
        tasks,
        grace: Duration::from_millis(grace),
        drain: Duration::from_millis(drain),
    })
}

/// What is behind the edges.
struct Rooms {
    registry: Registry,
    router: Router,
    backbone: Arc<dyn Backbone>,
    durable: Arc<Durable>,
    contexts: Option<Contexts>,
}

async fn rooms(config: &Config, node: &NodeId, data: &Path, telemetry: &Telemetry) -> anyhow::Result<Rooms> {
    let store = files::store(config, data)?;
    let backbone = build::backbone(config, node).await?;
    let durable = Arc::new(Durable::open(config, node, data, store.clone(), telemetry).await?);
    let contexts = durable.contexts(config, node, telemetry);
    let parts = spanwire_registry::Parts {
        connector: Arc::new(connectors::Connectors::new(
            build::message_limit(config),
            build::input_timeout(config),
            contexts.clone(),
        )?),
        store: Arc::new(store),
        backbone: backbone.clone(),
        resolve: Arc::new(build::resolve),
        ledger: durable.ledger.clone(),
        leases: durable.leases.clone(),
    };
    let registry = spanwire_registry::start(build::registry(config, node), parts, build::specs(config)?).await?;
    let router = Router::start(
        build::router(config, node, files::seal_secret(config, data)?),
        spanwire_router::Parts {
            policy: build::policy(config)?,
            registry: registry.clone(),
            backbone: backbone.clone(),
            telemetry: telemetry.clone(),
        },
    )
    .await?;
    Ok(Rooms { registry, router, backbone, durable, contexts })
}

async fn bind(address: SocketAddr, what: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address} for {what}: is another node running?"))
}

impl RunningNode {
    /// Leaves without a failed call. First it is only said: `/readyz` fails and the other nodes send nothing new, while everything is
    /// still answered for `limits.drain_grace_ms`, and placed servers go to other nodes, if there are any: else they answer to the end. Then running calls may finish within
    /// `limits.shutdown_timeout_ms`, and all stops: edges first, then the router, then the servers, the ledger, the backbone, and telemetry
    /// last, so that every span of the way down is still delivered.
    pub(crate) async fn shutdown(self) {
        self.registry.drain().await;
        let leave = async {
            tokio::time::sleep(self.grace).await;
            self.edges.cancel();
            self.tasks.close();
            self.router.shutdown(self.drain).await;
            if tokio::time::timeout(self.drain, self.tasks.wait()).await.is_err() {
                tracing::warn!("connections were still open at the end of the time to drain");
            }
        };
        if self.registry.has_others() {
            tokio::join!(self.registry.hand_over(self.drain), leave);
        } else {
            // Nobody would take them over: their calls would wait in vain.
            leave.await;
            self.registry.hand_over(self.drain).await;
        }
        self.registry.shutdown(self.drain).await;
        self.durable.close(self.drain).await;
        self.backbone.close().await;
        self.telemetry.shutdown(FLUSH).await;
    }
}
