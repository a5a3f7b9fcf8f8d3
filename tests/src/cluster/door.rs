//! What a client does at a node, and which of three things came of it: done, certainly not done, or unknown.

use std::{collections::HashMap, error::Error, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use spanwire_mcp::{header, meta};
use spanwire_rpc::{
    ERROR_KIND_METADATA,
    v1::{
        ContextCondition, ContextEntry, ContextEvent, ContextGetRequest, ContextOperation, ContextRead,
        ContextReadLevel, ContextSnapshotRequest, ContextWatchRequest, ContextWriteRequest, StatusRequest,
        StatusResponse, broker_client::BrokerClient, context_condition::Expect, context_operation::Change,
        context_snapshot_part::Part, contexts_client::ContextsClient,
    },
};
use tokio::time::timeout;
use tonic::{Request, Status, Streaming, transport::Channel};
use uuid::Uuid;

use super::{
    journal::{Act, Level, Outcome, Versioned},
    world::{COUNTER, Endpoint, Endpoints},
};

/// What a client gives a node for one operation.
const BUDGET: Duration = Duration::from_secs(6);
/// How long it waits itself: longer, so that a node that lives gives its own answer.
const PATIENCE: Duration = Duration::from_secs(9);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A client of all nodes.
pub struct Door {
    endpoints: Endpoints,
    channels: HashMap<usize, (Endpoint, Channel)>,
    http: reqwest::Client,
}

impl Door {
    /// A client that knows where the nodes are.
    pub fn new(endpoints: Endpoints) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_TIMEOUT).timeout(PATIENCE).build()?;
        Ok(Self { endpoints, channels: HashMap::new(), http })
    }

    /// Does something at a node. The same `operation` again is the same write again.
    pub async fn act(&mut self, node: usize, act: &Act, operation: Uuid) -> Outcome {
        match act {
            Act::Call { mark } => self.call(node, mark).await,
            Act::Read { key, level } => self.read(node, key, *level).await,
            Act::Put { key, item } => self.write(node, key, None, put(*item), operation).await,
            Act::PutIf { key, item, expected } => self.write(node, key, Some(*expected), put(*item), operation).await,
            Act::Append { key, item } => {
                self.write(node, key, None, Change::AppendJson(list(&[*item]).into()), operation).await
            }
        }
    }

    /// Sets a key to a list of many numbers.
    pub async fn put_many(&mut self, node: usize, key: &str, numbers: std::ops::Range<u64>) -> Outcome {
        let value = list(&numbers.collect::<Vec<_>>());
        self.write(node, key, None, Change::PutJson(value.into()), Uuid::new_v4()).await
    }

    /// How a node is.
    pub async fn status(&mut self, node: usize) -> Result<StatusResponse> {
        let request = self.request(node, StatusRequest {})?;
        let mut client = BrokerClient::new(self.channel(node).await?);
        Ok(timeout(PATIENCE, client.status(request)).await??.into_inner())
    }

    /// The changes of a space from a sequence on.
    pub async fn watch(&mut self, node: usize, space: &str, from: u64) -> Result<Streaming<ContextEvent>> {
        let wanted = ContextWatchRequest { space: space.to_owned(), from, ..ContextWatchRequest::default() };
        let request = self.request(node, wanted)?;
        let mut client = ContextsClient::new(self.channel(node).await?);
        Ok(timeout(PATIENCE, client.watch(request)).await??.into_inner())
    }

    /// Every key of a space, current, as `SPACE/KEY`.
    pub async fn snapshot(&mut self, node: usize, space: &str) -> Result<Vec<(String, Versioned)>> {
        let read = ContextRead { level: ContextReadLevel::Linearizable.into(), ..ContextRead::default() };
        let wanted = ContextSnapshotRequest { space: space.to_owned(), read: Some(read), ..Default::default() };
        let request = self.request(node, wanted)?;
        let mut client = ContextsClient::new(self.channel(node).await?);
        let all = async {
            let mut parts = client.snapshot(request).await?.into_inner();
            let mut keys = Vec::new();
            while let Some(part) = parts.message().await? {
                if let Some(Part::Entry(entry)) = part.part {
                    keys.push((format!("{space}/{}", entry.key), versioned(&entry)?));
                }
            }
            anyhow::Ok(keys)
        };
        timeout(PATIENCE, all).await?
    }

    async fn read(&mut self, node: usize, key: &str, level: Level) -> Outcome {
        let (space, key) = split(key);
        let (level, at_least) = match level {
            Level::Local => (ContextReadLevel::Local, 0),
            Level::AtLeast(sequence) => (ContextReadLevel::AtLeast, sequence),
            Level::Linearizable => (ContextReadLevel::Linearizable, 0),
        };
        let read = ContextRead { level: level.into(), at_least, timeout_ms: millis(BUDGET) };
        let wanted = ContextGetRequest { space, key, read: Some(read) };
        let answer = self.ask(node, wanted, async |mut client, request| client.get(request).await).await;
        match answer.map(|answer| answer.entry.as_ref().map_or(Ok(Versioned::default()), versioned)) {
            Ok(Ok(seen)) => Outcome::Read(seen),
            Ok(Err(error)) => Outcome::Unknown(format!("not understood: {error:#}")),
            Err(outcome) => outcome,
        }
    }

    async fn write(
        &mut self,
        node: usize,
        key: &str,
        expected: Option<u64>,
        change: Change,
        operation: Uuid,
    ) -> Outcome {
        let (space, key) = split(key);
        let expect = expected.map(|version| match version {
            0 => Expect::Absent(true),
            version => Expect::Version(version),
        });
        let condition = expect.map(|expect| ContextCondition { key: key.clone(), expect: Some(expect) });
        let wanted = ContextWriteRequest {
            space,
            conditions: condition.into_iter().collect(),
            operations: vec![ContextOperation { key, change: Some(change), ttl_ms: 0 }],
            operation: operation.to_string(),
            timeout_ms: millis(BUDGET),
        };
        let answer = self.ask(node, wanted, async |mut client, request| client.write(request).await).await;
        match answer {
            Ok(answer) => match answer.written.first().map(|written| written.version) {
                Some(version) if version == answer.sequence => Outcome::Written(version),
                version => Outcome::Unknown(format!("written as {version:?} by entry {}", answer.sequence)),
            },
            Err(outcome) => outcome,
        }
    }

    /// One request of the context, and what a failure of it means.
    async fn ask<T, R>(
        &mut self,
        node: usize,
        wanted: T,
        send: impl AsyncFnOnce(ContextsClient<Channel>, Request<T>) -> Result<tonic::Response<R>, Status>,
    ) -> Result<R, Outcome> {
        let request = self.request(node, wanted).map_err(|error| Outcome::NotDone(error.to_string()))?;
        let Ok(channel) = self.channel(node).await else { return Err(Outcome::NotDone("refused".to_owned())) };
        match timeout(PATIENCE, send(ContextsClient::new(channel), request)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(failure(&status)),
            Err(_) => Err(Outcome::Unknown("client gave up".to_owned())),
        }
    }

    /// Calls the tool that counts, as an MCP client.
    async fn call(&self, node: usize, mark: &str) -> Outcome {
        let tool = format!("{COUNTER}__count");
        let meta = json!({ (meta::PROTOCOL_VERSION): REVISION, (meta::CLIENT_CAPABILITIES): {} });
        let params = json!({ "name": tool, "arguments": { "mark": mark, "ms": 5 }, "_meta": meta });
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
        let request = self
            .http
            .post(self.endpoints.of(node).mcp_url)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header(header::PROTOCOL_VERSION, REVISION)
            .header(header::METHOD, "tools/call")
            .header(header::NAME, &*header::encode_name(&tool))
            .body(body.to_string());
        let answer = async { request.send().await?.bytes().await };
        match answer.await {
            Ok(text) => called(&text),
            Err(error) if error.is_connect() => Outcome::NotDone("refused".to_owned()),
            Err(error) if error.is_timeout() => Outcome::Unknown("client gave up".to_owned()),
            Err(_) => Outcome::Unknown("connection lost".to_owned()),
        }
    }

    fn request<T>(&self, node: usize, wanted: T) -> Result<Request<T>> {
        let mut request = Request::new(wanted);
        let token = format!("Bearer {}", self.endpoints.of(node).token);
        request.metadata_mut().insert("authorization", token.parse()?);
        Ok(request)
    }

    async fn channel(&mut self, node: usize) -> Result<Channel> {
        let endpoint = self.endpoints.of(node);
        if let Some((known, channel)) = self.channels.get(&node)
            && *known == endpoint
        {
            return Ok(channel.clone());
        }
        let address = tonic::transport::Endpoint::from_shared(endpoint.grpc_url.clone())?;
        let channel = address.connect_timeout(CONNECT_TIMEOUT).connect().await?;
        self.channels.insert(node, (endpoint, channel.clone()));
        Ok(channel)
    }
}

const REVISION: &str = "2026-07-28";

/// The outcome in the body of an answer: JSON, or the last event of a stream.
fn called(body: &[u8]) -> Outcome {
    let text = String::from_utf8_lossy(body);
    let data = text.lines().rev().find_map(|line| line.strip_prefix("data:")).unwrap_or(&text);
    let Ok(answer) = serde_json::from_str::<Value>(data) else {
        return Outcome::Unknown("connection lost".to_owned());
    };
    if answer["result"]["content"][0]["text"] == "counted" {
        return Outcome::Called;
    }
    let data = &answer["error"]["data"];
    match (data["kind"].as_str(), data["retry"].as_str()) {
        (Some(kind), Some("safe")) => Outcome::NotDone(kind.to_owned()),
        (Some(kind), _) => Outcome::Unknown(kind.to_owned()),
        // A tool that does not exist was not called.
        (None, _) if answer["error"]["code"] == -32602 => Outcome::NotDone("unknown tool".to_owned()),
        (None, _) => Outcome::Unknown(format!("not understood: {answer}")),
    }
}

/// What a failed request of the context says about the write.
fn failure(status: &Status) -> Outcome {
    let Some(kind) = status.metadata().get(ERROR_KIND_METADATA).and_then(|kind| kind.to_str().ok()) else {
        return match was_refused(status) {
            true => Outcome::NotDone("refused".to_owned()),
            false => Outcome::Unknown("connection lost".to_owned()),
        };
    };
    match kind {
        "conflict" => Outcome::Refused(current_version(status)),
        "unavailable" | "overloaded" => Outcome::NotDone(kind.to_owned()),
        "deadline_exceeded" => Outcome::Unknown(kind.to_owned()),
        // Nobody asked for anything that gives these.
        _ => Outcome::Unknown(format!("{kind} ({})", status.message())),
    }
}

/// Whether no connection was made, so that nothing was sent.
fn was_refused(status: &Status) -> bool {
    let mut cause = Error::source(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The version that a conflict met, where it says so.
fn current_version(status: &Status) -> Option<u64> {
    let data = status.metadata().get(spanwire_rpc::ERROR_DATA_METADATA)?.to_str().ok()?;
    let data: Value = serde_json::from_str(data).ok()?;
    data["version"].as_u64().or_else(|| (data["exists"] == false).then_some(0))
}

/// Space and key of `SPACE/KEY`.
fn split(key: &str) -> (String, String) {
    let (space, key) = key.split_once('/').unwrap_or(("", key));
    (space.to_owned(), key.to_owned())
}

fn put(item: u64) -> Change {
    Change::PutJson(list(&[item]).into())
}

fn list(items: &[u64]) -> Vec<u8> {
    json!(items).to_string().into_bytes()
}

/// The numbers in a value.
pub(super) fn items(value: &[u8]) -> Result<Vec<u64>> {
    serde_json::from_slice(value).with_context(|| format!("not a list of numbers: {}", String::from_utf8_lossy(value)))
}

fn versioned(entry: &ContextEntry) -> Result<Versioned> {
    ensure!(entry.version > 0, "an entry without a version");
    Ok(Versioned { version: entry.version, items: items(&entry.value_json)? })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tonic::{Code, metadata::MetadataMap};

    use super::*;

    fn status(kind: &str, data: &str) -> Status {
        let mut metadata = MetadataMap::new();
        metadata.insert(ERROR_KIND_METADATA, kind.parse().unwrap());
        metadata.insert(spanwire_rpc::ERROR_DATA_METADATA, data.parse().unwrap());
        Status::with_metadata(Code::Unknown, "", metadata)
    }

    #[test]
    fn what_a_call_came_to() {
        let check = |body: &str, outcome: Outcome| assert_eq!(called(body.as_bytes()), outcome, "{body}");
        check(r#"{"result":{"content":[{"type":"text","text":"counted"}]}}"#, Outcome::Called);
        check("data: {\"result\":{\"content\":[{\"text\":\"counted\"}]}}\n\n", Outcome::Called);
        let error = |kind: &str, retry: &str| {
            format!(r#"{{"error":{{"code":1,"message":"m","data":{{"kind":"{kind}","retry":"{retry}"}}}}}}"#)
        };
        check(&error("unavailable", "safe"), Outcome::NotDone("unavailable".to_owned()));
        check(&error("stream_lost", "if_idempotent"), Outcome::Unknown("stream_lost".to_owned()));
        check(r#"{"error":{"code":-32602,"message":"m"}}"#, Outcome::NotDone("unknown tool".to_owned()));
        check("", Outcome::Unknown("connection lost".to_owned()));
    }

    #[test]
    fn what_a_write_came_to() {
        let conflict = r#"{"key":"k","exists":true,"version":7}"#;
        assert_eq!(failure(&status("conflict", conflict)), Outcome::Refused(Some(7)));
        let absent = r#"{"key":"k","exists":false}"#;
        assert_eq!(failure(&status("conflict", absent)), Outcome::Refused(Some(0)));
        assert_eq!(failure(&status("unavailable", "{}")), Outcome::NotDone("unavailable".to_owned()));
        assert_eq!(failure(&status("deadline_exceeded", "{}")), Outcome::Unknown("deadline_exceeded".to_owned()));
        // Without the node's own word it may have been done.
        assert_eq!(failure(&Status::unavailable("gone")), Outcome::Unknown("connection lost".to_owned()));
    }
}
