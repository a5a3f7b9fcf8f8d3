//! A backbone over core NATS, without JetStream: nothing here is stored.
//!
//! ```text
//! caller                                   NATS                                    handler
//!   | request -> call.{principal}.{server}.{method}.{name}  (queue group = server)    |
//!   |                                                                                 |
//!   | inbox.{node}.{connection}.{key} <- frame 1, 2, … alive … end                     |
//!   | credit, parts of the request, cancel -> ctl.{node}.{key}                         |
//! ```
//!
//! A key is one request's own. Frames are numbered, a window of credit bounds what is on the way, and every frame has a
//! reply subject of its own, on which the server says at once when the caller's inbox is gone. The request is the JSON-RPC
//! message itself, so `nats sub 'sw.>'` can be read; the rest is in headers.

mod config;
mod envelope;
mod events;
mod frame;
mod handle;
mod header;
mod inner;
mod outbox;
mod parts;
mod request;
mod router;
mod running;
mod serve;
mod slot;
mod subject;
mod window;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use spanwire_model::{
    Address, Backbone, BusHandler, BusMessage, BusReply, BusRequest, Error, ErrorKind, Result, ServeGuard, ServeOn,
    Topic,
};
use spanwire_nats::Connection;
use tokio::time::timeout;

pub use config::Config;
use inner::Inner;

/// How long running calls may take to end when the node closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// One node's connection to NATS. Dropping it ends what it does, at once and without a flush.
pub struct Nats {
    inner: Arc<Inner>,
}

impl Nats {
    /// Connects. From then on the client connects again by itself, for ever.
    ///
    /// # Errors
    /// `Unavailable` when there is no connection within [`spanwire_nats::Config::connect_timeout`], or at once when the server refuses the
    /// credentials; `InvalidParams` when the configuration makes no sense. With [`spanwire_nats::Config::connect_in_background`] only the
    /// latter.
    pub async fn connect(config: Config) -> Result<Self> {
        config.check()?;
        let background = config.connection.connect_in_background;
        let Connection { client, mut link, .. } = spanwire_nats::connect(&config.connection).await?;
        if !background {
            // The event comes a moment after the connection; later ones are told to subscribers as gaps.
            let connected = link.wait_for(|link| link.connects > 0);
            let _ = timeout(config.connection.connect_timeout, connected).await;
        }
        let inner = Arc::new(Inner::new(config, client, link));
        let nats = Self { inner };
        router::start(&nats.inner).await?;
        if !background && !nats.inner.settle().await {
            let text = format!("nats at {} does not return messages", nats.inner.config.connection.addresses());
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        Ok(nats)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.inner.closed.cancel();
        self.inner.tasks.close();
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Nats").field(&self.inner.config).finish()
    }
}

#[async_trait]
impl Backbone for Nats {
    fn request(&self, to: Address, request: BusRequest) -> BusReply {
        request::send(self.inner.clone(), to, request)
    }

    async fn serve(&self, on: ServeOn, handler: Arc<dyn BusHandler>) -> Result<ServeGuard> {
        serve::serve(&self.inner, on, handler).await
    }

    async fn publish(&self, topic: &Topic, payload: Bytes) -> Result<()> {
        events::publish(&self.inner, topic, payload).await
    }

    async fn subscribe(&self, kind: &str) -> Result<BoxStream<'static, BusMessage>> {
        events::subscribe(&self.inner, kind).await
    }

    fn is_connected(&self) -> bool {
        self.inner.is_connected()
    }

    fn describe(&self) -> String {
        self.inner.config.connection.addresses()
    }

    fn in_flight(&self) -> BTreeMap<&'static str, u64> {
        self.inner.in_flight.facts()
    }

    async fn close(&self) {
        let inner = &self.inner;
        inner.closed.cancel();
        inner.tasks.close();
        // Callers are told that their streams are lost before the connection goes.
        let orderly = async {
            inner.tasks.wait().await;
            let flushed = inner.client.flush().await;
            let drained = inner.client.drain().await;
            flushed.is_ok() && drained.is_ok()
        };
        if !timeout(CLOSE_TIMEOUT, orderly).await.unwrap_or(false) {
            tracing::debug!("nats connection closed without a flush");
        }
    }
}
