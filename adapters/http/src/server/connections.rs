//! The accept loop: time-outs and limits that a router cannot have, and a drain at the end.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt;

use self::watch::{Counted, Watch, Watched};
use super::{ConnectionLimits, PeerAddress};

mod watch;

/// Wait after a failed accept, for example when file descriptors have run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Accepts connections and serves them until `shutdown`; then lets running requests end within
/// [`ConnectionLimits::drain_timeout`] and closes what is left. Dropping the future closes every connection.
pub async fn serve(listener: TcpListener, app: Router, limits: ConnectionLimits, shutdown: CancellationToken) {
    let tracker = TaskTracker::new();
    let slots = Arc::new(tokio::sync::Semaphore::new(limits.max_connections));
    let closing = CancellationToken::new();
    let guard = closing.clone().drop_guard();
    while let Some((stream, address, slot)) = accept(&listener, &slots, &shutdown).await {
        let (app, limits) = (app.clone(), limits.clone());
        let (shutdown, closing) = (shutdown.clone(), closing.clone());
        tracker.spawn(async move {
            let _slot = slot;
            tokio::select! {
                () = Box::pin(connection(stream, address, app, &limits, shutdown)) => {}
                () = closing.cancelled() => {}
            }
        });
    }
    drop(listener);
    tracker.close();
    if tokio::time::timeout(limits.drain_timeout, tracker.wait()).await.is_err() {
        tracing::warn!(connections = tracker.len(), "closed connections that were still busy at shutdown");
    }
    drop(guard);
    tracker.wait().await;
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// The next connection and its place; `None` at shutdown.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<tokio::sync::Semaphore>,
    shutdown: &CancellationToken,
) -> Option<Accepted> {
    let next = async {
        loop {
            let slot = slots.clone().acquire_owned().await.ok()?;
            match listener.accept().await {
                Ok((stream, address)) => return Some((stream, address, slot)),
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        accepted = next => accepted,
    }
}

async fn connection(
    stream: TcpStream,
    address: SocketAddr,
    app: Router,
    limits: &ConnectionLimits,
    shutdown: CancellationToken,
) {
    let _ = stream.set_nodelay(true);
    let watch = Arc::new(Watch::new());
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        let busy = watch.request();
        request.extensions_mut().insert(PeerAddress(address));
        let app = app.clone();
        async move {
            let request: Request = request.map(Body::new);
            let Ok(response) = app.oneshot(request).await;
            Ok::<_, Infallible>(response.map(|body| Counted::new(body, busy)))
        }
    });
    let io = TokioIo::new(Watched::new(stream, watch.clone()));
    let connection =
        http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(None).serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let mut tick = tokio::time::interval(watch::tick(limits));
    let mut draining = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, %address, "connection ended");
                }
                return;
            }
            () = shutdown.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = tick.tick() => {
                if let Some(reason) = watch.overdue(limits) {
                    tracing::debug!(%address, reason, "closed a connection");
                    return;
                }
            }
        }
    }
}
