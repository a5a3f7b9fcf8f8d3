//! The methods of `spanwire.v1.Contexts`, each in a few lines: a request is read, done on behalf of the operator, and told.

mod answer;
mod entered;
mod request;

#[cfg(test)]
mod tests;

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt};
use spanwire_context::{LogQuery, OnBehalf};
use spanwire_model::{Error, ErrorKind, Result};
use spanwire_rpc::v1;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use self::entered::Entered;
use crate::{Control, failure};

/// Watches of one node at the same time.
const MAX_WATCHES: usize = 1024;

type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

/// The service, over the node that it belongs to.
pub(super) struct ContextService {
    control: Arc<dyn Control>,
    shutdown: CancellationToken,
    watches: Arc<Semaphore>,
}

impl ContextService {
    pub(super) fn new(control: Arc<dyn Control>, shutdown: CancellationToken) -> Self {
        Self { control, shutdown, watches: Arc::new(Semaphore::new(MAX_WATCHES)) }
    }

    /// Answers one request, in a span of its own.
    async fn answer<T, U, F>(
        &self,
        request: Request<T>,
        method: &'static str,
        work: impl FnOnce(OnBehalf, T) -> F,
    ) -> Answer<U>
    where
        F: Future<Output = Result<U>> + Send,
    {
        let entered = Entered::by(&*self.control, method, &request).map_err(|error| failure::status(&error))?;
        let outcome = work(entered.behalf.clone(), request.into_inner()).await;
        entered.leave(outcome)
    }
}

#[tonic::async_trait]
impl v1::contexts_server::Contexts for ContextService {
    async fn get(&self, request: Request<v1::ContextGetRequest>) -> Answer<v1::ContextGetResponse> {
        self.answer(request, "Get", |behalf, request| async move {
            let (space, key) = (request::space(&request.space)?, request::key(&request.key)?);
            let seen = behalf.get(&space, &key, request::reading(request.read)?).await?;
            let (sequence, stale_ms) = (seen.sequence, seen.stale_ms.unwrap_or_default());
            Ok(v1::ContextGetResponse { entry: seen.value.map(answer::entry), sequence, stale_ms })
        })
        .await
    }

    async fn list(&self, request: Request<v1::ContextListRequest>) -> Answer<v1::ContextListResponse> {
        self.answer(request, "List", |behalf, request| async move {
            let space = request::space(&request.space)?;
            let reading = request::reading(request.read)?;
            let seen = behalf.list(&space, &request::list_query(request)?, reading).await?;
            Ok(v1::ContextListResponse {
                entries: seen.value.items.into_iter().map(answer::entry).collect(),
                next: seen.value.next.map(|key| key.to_string()).unwrap_or_default(),
                sequence: seen.sequence,
                stale_ms: seen.stale_ms.unwrap_or_default(),
            })
        })
        .await
    }

    async fn put(&self, request: Request<v1::ContextPutRequest>) -> Answer<v1::ContextWriteResponse> {
        self.answer(request, "Put", |behalf, request| async move {
            let space = request::space(&request.space)?;
            let options = request::options(&request.operation, request.timeout_ms)?;
            let written = behalf.write(&space, request::put(request)?, options).await?;
            Ok(answer::written(written, options.operation))
        })
        .await
    }

    async fn write(&self, request: Request<v1::ContextWriteRequest>) -> Answer<v1::ContextWriteResponse> {
        self.answer(request, "Write", |behalf, request| async move {
            let space = request::space(&request.space)?;
            let options = request::options(&request.operation, request.timeout_ms)?;
            let transaction = request::transaction(request.conditions, request.operations)?;
            let written = behalf.write(&space, transaction, options).await?;
            Ok(answer::written(written, options.operation))
        })
        .await
    }

    async fn log(&self, request: Request<v1::ContextLogRequest>) -> Answer<v1::ContextLogResponse> {
        self.answer(request, "Log", |behalf, request| async move {
            let space = request::space(&request.space)?;
            let reading = request::reading(request.read)?;
            let limit = request::limit(request.limit);
            if !request.key.is_empty() {
                let key = request::key(&request.key)?;
                let seen = behalf.versions(&space, &key, limit, reading).await?;
                return Ok(answer::versions(seen));
            }
            let query = LogQuery { from: request.from, limit, prefix: request.prefix, values: !request.without_values };
            Ok(answer::log(behalf.log(&space, &query, reading).await?))
        })
        .await
    }

    type WatchStream = Streaming<v1::ContextEvent>;

    async fn watch(&self, request: Request<v1::ContextWatchRequest>) -> Answer<Self::WatchStream> {
        let (watches, shutdown) = (self.watches.clone(), self.shutdown.clone());
        self.answer(request, "Watch", |behalf, request| async move {
            let space = request::space(&request.space)?;
            let place = watches.try_acquire_owned().map_err(|_| {
                Error::new(ErrorKind::Overloaded, format!("{MAX_WATCHES} watches are open on this node"))
            })?;
            let from = Some(request.from).filter(|from| *from > 0);
            let events = behalf.watch(&space, &request.prefix, from, !request.without_values);
            let events = events.take_until(shutdown.cancelled_owned()).map(move |event| {
                let _place = &place;
                event.map(answer::event).map_err(|error| failure::status(&error))
            });
            let end = futures::stream::once(async { Err(failure::shutting_down()) });
            Ok(Box::pin(events.chain(end)) as Self::WatchStream)
        })
        .await
    }

    type SnapshotStream = Streaming<v1::ContextSnapshotPart>;

    async fn snapshot(&self, request: Request<v1::ContextSnapshotRequest>) -> Answer<Self::SnapshotStream> {
        self.answer(request, "Snapshot", |behalf, request| async move {
            let space = request::space(&request.space)?;
            let seen = behalf.snapshot(&space, &request.prefix, u64::MAX, request::reading(request.read)?).await?;
            let parts = answer::snapshot(seen);
            Ok(Box::pin(futures::stream::iter(parts.map(Ok))) as Self::SnapshotStream)
        })
        .await
    }

    async fn list_spaces(
        &self,
        request: Request<v1::ContextListSpacesRequest>,
    ) -> Answer<v1::ContextListSpacesResponse> {
        self.answer(request, "ListSpaces", |behalf, request| async move {
            let reading = request::reading_of_all(request.read)?;
            let after = Some(&request.after).filter(|after| !after.is_empty());
            let after = after.map(|after| request::space(after)).transpose()?;
            let limit = request::limit(request.limit);
            Ok(answer::spaces(behalf.spaces(&request.prefix, after.as_ref(), limit, reading).await?))
        })
        .await
    }

    async fn describe_space(
        &self,
        request: Request<v1::ContextDescribeSpaceRequest>,
    ) -> Answer<v1::ContextDescribeSpaceResponse> {
        let quotas = self.control.contexts().map(|contexts| *contexts.quotas()).unwrap_or_default();
        let name = request.get_ref().space.clone();
        let described = self
            .answer(request, "DescribeSpace", |behalf, request| async move {
                let space = request::space(&request.space)?;
                let seen = behalf.describe(&space, request::reading(request.read)?).await?;
                Ok(answer::description(seen, &space, &quotas))
            })
            .await?;
        if described.get_ref().space.is_none() {
            return Err(failure::not_found(&format!("there is no space \"{name}\"")));
        }
        Ok(described)
    }

    async fn drop_space(&self, request: Request<v1::ContextDropSpaceRequest>) -> Answer<v1::ContextDropSpaceResponse> {
        self.answer(request, "DropSpace", |behalf, request| async move {
            let space = request::space(&request.space)?;
            let options = request::options(&request.operation, request.timeout_ms)?;
            let keys = behalf.drop_space(&space, options).await?;
            let operation = options.operation.map(|id| id.to_string()).unwrap_or_default();
            Ok(v1::ContextDropSpaceResponse { dropped: keys.is_some(), keys: keys.unwrap_or_default(), operation })
        })
        .await
    }
}
