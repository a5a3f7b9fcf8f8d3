//! stub
mod config;
use async_trait::async_trait;
use bytes::Bytes;
pub use config::{Config, Credentials, Tls};
use futures::stream::BoxStream;
use spanwire_model::{
    Address, Backbone, BusHandler, BusMessage, BusReply, BusRequest, Error, ErrorKind, Result, ServeGuard, ServeOn,
    Topic,
};
use std::{collections::BTreeMap, sync::Arc};
/// stub
#[derive(Debug)]
pub struct Nats;
impl Nats {
    /// stub
    pub async fn connect(_: Config) -> Result<Self> {
        Err(Error::new(ErrorKind::Internal, "stub"))
    }
}
#[async_trait]
impl Backbone for Nats {
    fn request(&self, _to: Address, _request: BusRequest) -> BusReply {
        Box::pin(futures::stream::empty())
    }
    async fn serve(&self, _on: ServeOn, _handler: Arc<dyn BusHandler>) -> Result<ServeGuard> {
        Err(Error::new(ErrorKind::Internal, "stub"))
    }
    async fn publish(&self, _topic: &Topic, _payload: Bytes) -> Result<()> {
        Ok(())
    }
    async fn subscribe(&self, _kind: &str) -> Result<BoxStream<'static, BusMessage>> {
        Err(Error::new(ErrorKind::Internal, "stub"))
    }
    fn is_connected(&self) -> bool {
        false
    }
    fn describe(&self) -> String {
        String::new()
    }
    fn in_flight(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::new()
    }
    async fn close(&self) {}
}
