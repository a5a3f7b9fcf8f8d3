//! The control API of a node, as its operator.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use spanwire_rpc::v1::{
    CallEvent, CallRequest, CatalogChange, ServerInfo, ServerState, ShardState, ShardStatus, StatusRequest,
    StatusResponse, WatchCatalogRequest, broker_client::BrokerClient, call_event::Event,
    contexts_client::ContextsClient,
};
use tokio::time::{Instant, sleep};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::{Node, START_TIMEOUT};

/// How often a node is looked at that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A client of the control API.
pub type Broker = BrokerClient<InterceptedService<Channel, Bearer>>;

/// A client of the shared context.
pub type Contexts = ContextsClient<InterceptedService<Channel, Bearer>>;

/// Adds the operator's token to each request.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

impl Node {
    /// Connects to the control API.
    pub async fn broker(&self) -> Result<Broker> {
        let channel = Endpoint::from_shared(format!("http://{}", self.grpc()))?.connect().await?;
        let bearer = Bearer(format!("Bearer {}", self.token()?).parse()?);
        Ok(BrokerClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(spanwire_rpc::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(spanwire_rpc::MAX_MESSAGE_BYTES))
    }

    /// Connects to the shared context.
    pub async fn contexts(&self) -> Result<Contexts> {
        let channel = Endpoint::from_shared(format!("http://{}", self.grpc()))?.connect().await?;
        let bearer = Bearer(format!("Bearer {}", self.token()?).parse()?);
        Ok(ContextsClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(spanwire_rpc::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(spanwire_rpc::MAX_MESSAGE_BYTES))
    }

    /// Waits until this node knows each of the servers, wherever it is attached, in that state, and returns all that it knows.
    pub async fn wait_servers(&self, ids: &[&str], state: ServerState) -> Result<Vec<ServerInfo>> {
        let what = format!("{ids:?} {}", state.as_str_name());
        let wanted = |change: &CatalogChange| ids.iter().all(|id| in_state(&change.servers, id, state));
        Ok(self.wait_catalog(&what, wanted).await?.servers)
    }

    /// Waits until all these nodes, this one included, are seen by this one.
    pub async fn wait_nodes(&self, nodes: &[&str]) -> Result<()> {
        let wanted = |change: &CatalogChange| nodes.iter().all(|id| change.nodes.iter().any(|node| node == id));
        self.wait_catalog(&format!("nodes {nodes:?}"), wanted).await.map(drop)
    }

    /// Waits until this node has heard of all others, so that what it does not know is unknown.
    pub async fn wait_settled(&self) -> Result<()> {
        let is_unsettled = |what: &String| what.contains("the other nodes have not all told");
        self.wait_status("settled", |status| !status.missing.iter().any(is_unsettled)).await
    }

    /// Waits until this node follows all logs: before that it refuses to write.
    pub async fn wait_following(&self) -> Result<()> {
        let is_following = |shard: &ShardStatus| shard.state() == ShardState::Following;
        let all = |status: &StatusResponse| !status.shards.is_empty() && status.shards.iter().all(is_following);
        self.wait_status("following its logs", all).await
    }

    /// Waits until the node says that it is so; `what` is for the error.
    async fn wait_status(&self, what: &str, wanted: impl Fn(&StatusResponse) -> bool) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let status = self.broker().await?.status(StatusRequest {}).await?.into_inner();
            if wanted(&status) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("node {} is not {what}: {status:#?}", self.id());
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits for a state of the catalog; `what` is for the error.
    pub async fn wait_catalog(&self, what: &str, wanted: impl Fn(&CatalogChange) -> bool) -> Result<CatalogChange> {
        self.wait_catalog_for(START_TIMEOUT, what, wanted).await
    }

    /// The same with another bound.
    pub async fn wait_catalog_for(
        &self,
        limit: Duration,
        what: &str,
        wanted: impl Fn(&CatalogChange) -> bool,
    ) -> Result<CatalogChange> {
        let mut changes = self.broker().await?.watch_catalog(WatchCatalogRequest {}).await?.into_inner();
        let mut last = None;
        let found = tokio::time::timeout(limit, async {
            while let Some(change) = changes.message().await? {
                if wanted(&change) {
                    return anyhow::Ok(Some(change));
                }
                last = Some(change);
            }
            Ok(None)
        });
        match found.await {
            Ok(found) => found?.with_context(|| format!("node {} ended before {what}", self.id())),
            Err(_) => bail!("node {} did not get to {what}; last it knew {}", self.id(), describe(last.as_ref())),
        }
    }

    /// Calls a tool as the operator; the result, or the error's kind and message.
    pub async fn call(&self, name: &str, arguments: &serde_json::Value) -> Result<serde_json::Value> {
        let request = CallRequest {
            name: name.to_owned(),
            arguments_json: arguments.to_string().into(),
            ..CallRequest::default()
        };
        let mut events = self.broker().await?.call(request).await?.into_inner();
        while let Some(CallEvent { event }) = events.message().await? {
            match event {
                Some(Event::ResultJson(result)) => return Ok(serde_json::from_slice(&result)?),
                Some(Event::Error(error)) => bail!("{}: {} ({})", error.kind, error.message, error.code),
                Some(Event::ProgressJson(_) | Event::NotificationJson(_)) | None => {}
            }
        }
        bail!("the call of {name} ended without a result")
    }
}

/// Whether at least one replica of the server is in the state.
pub fn in_state(servers: &[ServerInfo], id: &str, state: ServerState) -> bool {
    servers.iter().any(|server| server.id == id && server.state() == state)
}

fn describe(change: Option<&CatalogChange>) -> String {
    let Some(change) = change else { return "nothing".to_owned() };
    let servers = change
        .servers
        .iter()
        .map(|server| format!("{} on {} {} ({})", server.id, server.node, server.state().as_str_name(), server.detail));
    format!("nodes {:?}, servers {:#?}", change.nodes, servers.collect::<Vec<_>>())
}
