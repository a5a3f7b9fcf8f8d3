//! A space through the gRPC of one node, in the fewest words.

use serde_json::{Value, json};
use spanwire_rpc::{
    ERROR_DATA_METADATA, ERROR_KIND_METADATA,
    v1::{
        ContextCondition, ContextEntry, ContextEvent, ContextGetRequest, ContextLogRequest, ContextLogResponse,
        ContextOperation, ContextPutRequest, ContextRead, ContextWatchRequest, ContextWriteRequest,
        ContextWriteResponse, context_condition::Expect, context_operation::Change,
    },
};
use spanwire_tests::node::{Contexts, Node, START_TIMEOUT};
use tonic::{Code, Status, Streaming};

pub(super) struct Hand {
    pub(super) client: Contexts,
    pub(super) space: String,
}

/// One change.
pub(super) fn change(key: &str, change: Change) -> ContextOperation {
    ContextOperation { key: key.to_owned(), change: Some(change), ttl_ms: 0 }
}

pub(super) fn put(key: &str, value: &Value) -> ContextOperation {
    change(key, Change::PutJson(value.to_string().into()))
}

pub(super) fn expect(key: &str, expect: Expect) -> ContextCondition {
    ContextCondition { key: key.to_owned(), expect: Some(expect) }
}

/// With the sequence of a write, the write is seen.
pub(super) fn at_least(sequence: u64) -> Option<ContextRead> {
    Some(ContextRead { at_least: sequence, ..ContextRead::default() })
}

pub(super) fn value(entry: &ContextEntry) -> Value {
    serde_json::from_slice(&entry.value_json).unwrap()
}

impl Hand {
    pub(super) async fn new(node: &Node, space: &str) -> Self {
        Self { client: node.contexts().await.unwrap(), space: space.to_owned() }
    }

    /// Sets a key, whatever is there; its version.
    pub(super) async fn put(&mut self, key: &str, value: &Value) -> u64 {
        self.put_for(key, value, 0).await
    }

    /// The same with a time to live.
    pub(super) async fn put_for(&mut self, key: &str, value: &Value, ttl_ms: u64) -> u64 {
        let request = ContextPutRequest {
            space: self.space.clone(),
            key: key.to_owned(),
            value_json: value.to_string().into(),
            ttl_ms,
            ..ContextPutRequest::default()
        };
        self.client.put(request).await.unwrap().into_inner().sequence
    }

    pub(super) async fn write(
        &mut self,
        conditions: Vec<ContextCondition>,
        operations: Vec<ContextOperation>,
    ) -> Result<ContextWriteResponse, Status> {
        self.write_as("", conditions, operations).await
    }

    /// The same under an id.
    pub(super) async fn write_as(
        &mut self,
        operation: &str,
        conditions: Vec<ContextCondition>,
        operations: Vec<ContextOperation>,
    ) -> Result<ContextWriteResponse, Status> {
        let request = ContextWriteRequest {
            space: self.space.clone(),
            conditions,
            operations,
            operation: operation.to_owned(),
            timeout_ms: 0,
        };
        Ok(self.client.write(request).await?.into_inner())
    }

    /// A key as it is at least at that sequence.
    pub(super) async fn get(&mut self, key: &str, sequence: u64) -> Option<ContextEntry> {
        let request = ContextGetRequest { space: self.space.clone(), key: key.to_owned(), read: at_least(sequence) };
        let got = self.client.get(request).await.unwrap().into_inner();
        assert!(got.sequence >= sequence, "{got:?}");
        got.entry
    }

    pub(super) async fn log(&mut self, from: u64, read: Option<ContextRead>) -> Result<ContextLogResponse, Status> {
        let request = ContextLogRequest { space: self.space.clone(), from, read, ..ContextLogRequest::default() };
        Ok(self.client.log(request).await?.into_inner())
    }

    pub(super) async fn watch(&mut self, prefix: &str, from: u64) -> Streaming<ContextEvent> {
        let request =
            ContextWatchRequest { space: self.space.clone(), prefix: prefix.to_owned(), from, without_values: false };
        self.client.watch(request).await.unwrap().into_inner()
    }
}

/// The next change of a watch.
pub(super) async fn next(events: &mut Streaming<ContextEvent>) -> ContextEvent {
    let event = tokio::time::timeout(START_TIMEOUT, events.message()).await.expect("a change in time");
    event.unwrap().expect("the watch goes on")
}

/// Checks an error, and returns what helps to do better.
pub(super) fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>, code: Code, kind: &str) -> Value {
    let status = outcome.expect_err("a refusal");
    let metadata = |key: &str| status.metadata().get(key).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!((status.code(), metadata(ERROR_KIND_METADATA).as_deref()), (code, Some(kind)), "{status:?}");
    metadata(ERROR_DATA_METADATA).map_or(json!(null), |data| serde_json::from_str(&data).unwrap())
}
