//! The gRPC server: the services, who reaches them, and how they end.

mod agents;
mod call;
mod cluster;
mod connection;
mod context;
mod door;
mod servers;
mod service;
mod tools;
mod traces;

use std::{sync::Arc, time::Duration};

use spanwire_rpc::{FILE_DESCRIPTOR_SET, MAX_MESSAGE_BYTES, v1};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{
    server::NamedService,
    service::{Routes, interceptor::InterceptedService},
    transport::Server,
};
use tonic_health::{ServingStatus, server::HealthReporter};

use self::{context::ContextService, service::BrokerService};
use crate::{Access, Control, ControlToken, failure};

/// A ping goes out on a connection that was silent for so long,
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// and without an answer for so long the connection is closed, and its calls are cancelled.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Streams of one connection at the same time.
const MAX_STREAMS: u32 = 256;
/// How long connections may take to end after the shutdown began. Longer than `call::DRAIN`, which running calls have.
const DRAIN: Duration = Duration::from_secs(10);

/// The broker's service as it is mounted, for its name.
type Mounted = v1::broker_server::BrokerServer<BrokerService>;
/// The same for the shared context.
type MountedContexts = v1::contexts_server::ContextsServer<ContextService>;

/// Why the gRPC server ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptors compiled into the program cannot be served.
    #[error("grpc reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The transport failed.
    #[error("grpc server: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves the control API, health and reflection on a listener until the shutdown, and then for at most ten seconds more. With a
/// token whoever shows it is let in, without one whoever is on this machine; health is open to all.
///
/// Watches end at once when the shutdown begins, running calls a few seconds later. Dropping the future closes every connection.
///
/// Errors: the server cannot be set up. Failures of single connections end only those.
pub async fn serve_grpc(
    listener: TcpListener,
    control: Arc<dyn Control>,
    token: Option<ControlToken>,
    shutdown: CancellationToken,
) -> Result<(), ServeError> {
    serve(listener, control, token.map_or(Access::Loopback, Access::Token), shutdown, DRAIN).await
}

pub(crate) async fn serve(
    listener: TcpListener,
    control: Arc<dyn Control>,
    access: Access,
    shutdown: CancellationToken,
    drain: Duration,
) -> Result<(), ServeError> {
    let health = HealthReporter::new();
    health.set_serving::<Mounted>().await;
    health.set_serving::<MountedContexts>().await;
    let routes = routes(control, access, &health, &shutdown)?;

    let cut = CancellationToken::new();
    let _cut_when_dropped = cut.clone().drop_guard();
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS)
        .add_routes(routes)
        .serve_with_incoming_shutdown(
            connection::incoming(listener, cut.clone()),
            stop_health(health, shutdown.clone()),
        );
    tokio::pin!(serving);
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        served = &mut serving => return Ok(served?),
        () = overdue => cut.cancel(),
    }
    Ok(serving.await?)
}

/// A duration in the unit of the contract.
fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn routes(
    control: Arc<dyn Control>,
    access: Access,
    health: &HealthReporter,
    shutdown: &CancellationToken,
) -> Result<Routes, ServeError> {
    let guard = move |request: tonic::Request<()>| {
        let shown = request.metadata().get("authorization").map(|value| value.as_encoded_bytes());
        match access.check(request.remote_addr(), shown) {
            Ok(()) => Ok(request),
            Err(error) => Err(failure::status(&error)),
        }
    };
    let contexts = v1::contexts_server::ContextsServer::new(ContextService::new(control.clone(), shutdown.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let broker = v1::broker_server::BrokerServer::new(BrokerService::new(control, shutdown.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let health = tonic_health::server::HealthService::from_health_reporter(health.clone());
    Ok(Routes::new(InterceptedService::new(broker, guard.clone()))
        .add_service(InterceptedService::new(contexts, guard.clone()))
        .add_service(InterceptedService::new(reflection().build_v1()?, guard.clone()))
        .add_service(InterceptedService::new(reflection().build_v1alpha()?, guard))
        .add_service(tonic_health::pb::health_server::HealthServer::new(health)))
}

/// Waits for the shutdown, then tells health watchers and ends their streams, which would hold their connections open.
async fn stop_health(mut health: HealthReporter, shutdown: CancellationToken) {
    shutdown.cancelled().await;
    for name in ["", Mounted::NAME, MountedContexts::NAME] {
        health.set_service_status(name, ServingStatus::NotServing).await;
        health.clear_service_status(name).await;
    }
}
