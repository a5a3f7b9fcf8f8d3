//! The methods of `spanwire.v1.Broker`, each in a few lines.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use spanwire_model::{Author, Error, ErrorKind, Principal};
use spanwire_rpc::{CALL_ID_METADATA, v1};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::{agents, call, door::Door, servers, tools, traces};
use crate::{Control, TraceMatch, failure, trace::ids_with_prefix};

const SERVICE: &str = "spanwire.v1.Broker";

type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service, over the node that it controls.
pub(super) struct BrokerService {
    control: Arc<dyn Control>,
    shutdown: CancellationToken,
}

impl BrokerService {
    pub(super) fn new(control: Arc<dyn Control>, shutdown: CancellationToken) -> Self {
        Self { control, shutdown }
    }

    /// The span of a method that begins.
    fn enter<T>(&self, method: &'static str, request: &Request<T>) -> Door {
        Door::enter(self.control.telemetry(), SERVICE, method, request)
    }

    async fn add(
        &self,
        author: Author,
        request: v1::AddServerRequest,
    ) -> spanwire_model::Result<v1::AddServerResponse> {
        let spec = servers::spec(request.spec)?;
        let id = spec.id.clone();
        self.control.add(author, spec, servers::home(&request.node)?, request.replace).await?;
        let inventory = self.control.inventory();
        let added = inventory.servers.iter().find(|server| server.local && server.id == id);
        Ok(v1::AddServerResponse { server: added.map(|server| servers::info(server)) })
    }

    async fn put_agent(&self, author: Author, request: v1::AddAgentRequest) -> spanwire_model::Result<bool> {
        let id = agents::id(&request.id)?;
        let card = agents::card(&id, request.card_json)?;
        self.control.add_agent(author, &id, card, request.replace).await
    }

    fn check_view(&self, view: &str) -> Result<(), Status> {
        if view.is_empty() || self.control.dispatch().has_view(&Principal::new(Principal::OPERATOR), view) {
            return Ok(());
        }
        let shown: String = view.chars().take(80).collect();
        Err(failure::status(&Error::new(ErrorKind::InvalidParams, format!("unknown view \"{shown}\""))))
    }
}

#[tonic::async_trait]
impl v1::broker_server::Broker for BrokerService {
    async fn add_server(
        &self,
        request: Request<v1::AddServerRequest>,
    ) -> Result<Response<v1::AddServerResponse>, Status> {
        let door = self.enter("AddServer", &request);
        let added = self.add(door.author(self.control.node()), request.into_inner()).await;
        door.leave(added)
    }

    async fn remove_server(
        &self,
        request: Request<v1::RemoveServerRequest>,
    ) -> Result<Response<v1::RemoveServerResponse>, Status> {
        let door = self.enter("RemoveServer", &request);
        let removed = match servers::id(&request.into_inner().id) {
            Ok(id) => self.control.remove(door.author(self.control.node()), &id).await,
            Err(error) => Err(error),
        };
        door.leave(removed.map(|removed| v1::RemoveServerResponse { removed }))
    }

    async fn list_servers(
        &self,
        _request: Request<v1::ListServersRequest>,
    ) -> Result<Response<v1::ListServersResponse>, Status> {
        let inventory = self.control.inventory();
        Ok(Response::new(v1::ListServersResponse {
            version: inventory.version,
            servers: servers::infos(&inventory),
            wanted: servers::wanted(&inventory),
        }))
    }

    async fn add_agent(&self, request: Request<v1::AddAgentRequest>) -> Result<Response<v1::AddAgentResponse>, Status> {
        let door = self.enter("AddAgent", &request);
        let added = self.put_agent(door.author(self.control.node()), request.into_inner()).await;
        door.leave(added.map(|replaced| v1::AddAgentResponse { replaced }))
    }

    async fn remove_agent(
        &self,
        request: Request<v1::RemoveAgentRequest>,
    ) -> Result<Response<v1::RemoveAgentResponse>, Status> {
        let door = self.enter("RemoveAgent", &request);
        let removed = match agents::id(&request.into_inner().id) {
            Ok(id) => self.control.remove_agent(door.author(self.control.node()), &id).await,
            Err(error) => Err(error),
        };
        door.leave(removed.map(|removed| v1::RemoveAgentResponse { removed }))
    }

    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Result<Response<v1::ListAgentsResponse>, Status> {
        let door = self.enter("ListAgents", &request);
        let listed = agents::query(&request.into_inner()).and_then(|query| self.control.agents(&query));
        door.leave(listed.map(agents::page))
    }

    async fn list_tools(
        &self,
        request: Request<v1::ListToolsRequest>,
    ) -> Result<Response<v1::ListToolsResponse>, Status> {
        let request = request.into_inner();
        self.check_view(&request.view)?;
        let listed = tools::list(&*self.control.dispatch(), &self.control.inventory(), &request).await;
        listed.map(Response::new).map_err(|error| failure::status(&error))
    }

    type WatchCatalogStream = Streaming<v1::CatalogChange>;

    async fn watch_catalog(
        &self,
        _request: Request<v1::WatchCatalogRequest>,
    ) -> Result<Response<Self::WatchCatalogStream>, Status> {
        let (mut inventories, shutdown) = (self.control.watch(), self.shutdown.clone());
        Ok(Response::new(Box::pin(async_stream::stream! {
            loop {
                let inventory = inventories.borrow_and_update().clone();
                yield Ok(servers::change(&inventory));
                let changed = tokio::select! {
                    () = shutdown.cancelled() => break,
                    changed = inventories.changed() => changed,
                };
                if changed.is_err() {
                    break;
                }
            }
            yield Err(failure::shutting_down());
        })))
    }

    type CallStream = Streaming<v1::CallEvent>;

    async fn call(&self, request: Request<v1::CallRequest>) -> Result<Response<Self::CallStream>, Status> {
        let peer = request.remote_addr();
        let request = request.into_inner();
        self.check_view(&request.view)?;
        let call = call::build(request, peer).map_err(|error| failure::status(&error))?;
        let id = call.id.to_string().parse().map_err(|_| Status::internal("a call id is not a header value"))?;
        let events = call::events(self.control.dispatch().dispatch(call), self.shutdown.clone(), call::DRAIN);
        let mut response = Response::new(Box::pin(events) as Self::CallStream);
        response.metadata_mut().insert(CALL_ID_METADATA, id);
        Ok(response)
    }

    async fn list_traces(
        &self,
        request: Request<v1::ListTracesRequest>,
    ) -> Result<Response<v1::ListTracesResponse>, Status> {
        let request = request.into_inner();
        let filter = traces::filter(request.text, request.errors_only, request.min_duration_ms);
        let found = self.control.traces(&filter, traces::limit(request.limit));
        Ok(Response::new(v1::ListTracesResponse { traces: found.into_iter().map(traces::summary).collect() }))
    }

    async fn get_trace(&self, request: Request<v1::GetTraceRequest>) -> Result<Response<v1::GetTraceResponse>, Status> {
        let prefix = request.into_inner().trace_id;
        let ids = ids_with_prefix(&prefix).map_err(|error| failure::status(&error))?;
        match self.control.trace(ids).await {
            TraceMatch::One(trace) => Ok(Response::new(traces::whole(*trace))),
            TraceMatch::None => Err(failure::not_found(&format!("this node holds no trace \"{prefix}\""))),
            TraceMatch::Many => {
                let text = format!("more than one trace begins with \"{prefix}\": give more digits");
                Err(failure::status(&Error::new(ErrorKind::InvalidParams, text)))
            }
        }
    }

    type FollowTracesStream = Streaming<v1::TraceSummary>;

    async fn follow_traces(
        &self,
        request: Request<v1::FollowTracesRequest>,
    ) -> Result<Response<Self::FollowTracesStream>, Status> {
        let request = request.into_inner();
        let filter = traces::filter(request.text, request.errors_only, request.min_duration_ms);
        let shutdown = self.shutdown.clone();
        let followed = self.control.follow(filter).take_until(shutdown.cancelled_owned());
        let end = futures::stream::once(async { Err(failure::shutting_down()) });
        Ok(Response::new(Box::pin(followed.map(|trace| Ok(traces::summary(trace))).chain(end))))
    }

    type BackupStream = Streaming<v1::BackupPiece>;

    async fn backup(&self, _request: Request<v1::BackupRequest>) -> Result<Response<Self::BackupStream>, Status> {
        let (mut pieces, shutdown) = (self.control.backup(), self.shutdown.clone());
        Ok(Response::new(Box::pin(async_stream::stream! {
            loop {
                let piece = tokio::select! {
                    () = shutdown.cancelled() => Some(Err(failure::shutting_down())),
                    piece = pieces.next() => piece.map(|piece| piece.map_err(|error| failure::status(&error))),
                };
                match piece {
                    Some(Ok(data)) => yield Ok(v1::BackupPiece { data }),
                    Some(Err(status)) => {
                        yield Err(status);
                        break;
                    }
                    None => break,
                }
            }
        })))
    }

    async fn status(&self, _request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(servers::status(self.control.status(), &self.control.inventory())))
    }
}
