#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines, ReadHalf, WriteHalf, split};

use super::{
    client::Events,
    server::{DemoServer, serve_on},
    *,
};

struct Host {
    lines: Lines<BufReader<ReadHalf<DuplexStream>>>,
    writer: WriteHalf<DuplexStream>,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Host {
    fn of(server: impl DemoServer) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (input, output) = split(far);
        let served = tokio::spawn(serve_on(server, input, output));
        let (reader, writer) = split(near);
        Self { lines: BufReader::new(reader).lines(), writer, served }
    }

    async fn send(&mut self, message: Value) {
        self.writer.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next_line().await.unwrap().unwrap()).unwrap()
    }

    async fn modern(&mut self, id: u64, method: &str, mut params: Value) {
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2026-07-28".into();
        self.send(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })).await;
    }
}

#[tokio::test]
async fn a_modern_host_sees_progress_and_the_same_forecast_again() {
    let mut host = Host::of(Weather);
    host.modern(1, "server/discover", json!({})).await;
    let discovered = host.next().await;
    assert_eq!(discovered["result"]["resultType"], "complete");
    assert_eq!(discovered["result"]["supportedVersions"][0], "2026-07-28");
    let params = json!({ "name": "get_forecast", "arguments": { "city": "Lisbon" }, "_meta": { "progressToken": 7 } });
    let mut texts = Vec::new();
    for id in [2, 3] {
        host.modern(id, "tools/call", params.clone()).await;
        for step in 0..3 {
            let progress = host.next().await;
            assert_eq!(
                (&progress["params"]["progressToken"], &progress["params"]["progress"]),
                (&json!(7), &json!(step))
            );
        }
        texts.push(host.next().await["result"]["content"][0]["text"].clone());
    }
    assert_eq!(texts[0], texts[1]);
    host.modern(4, "tools/call", json!({ "name": "get_forecast", "arguments": {} })).await;
    assert_eq!(host.next().await["result"]["isError"], true);
    host.modern(5, "tools/call", json!({ "name": "nope" })).await;
    assert_eq!(host.next().await["error"]["code"], -32602);
    host.modern(6, "resources/list", json!({})).await;
    assert_eq!(host.next().await["error"]["code"], -32601);
    host.send(json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/list" })).await;
    assert_eq!(host.next().await["error"]["code"], -32602);
}

#[tokio::test]
async fn a_cancelled_call_is_not_answered_and_the_end_of_input_ends_the_server() {
    let mut host = Host::of(Weather);
    let params = json!({ "name": "get_forecast", "arguments": { "city": "Oslo" }, "_meta": { "progressToken": "t" } });
    host.modern(1, "tools/call", params).await;
    assert_eq!(host.next().await["method"], "notifications/progress");
    host.send(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } })).await;
    host.modern(2, "tools/list", json!({})).await;
    loop {
        let message = host.next().await;
        assert_ne!(message["id"], 1);
        if message["id"] == 2 {
            break;
        }
    }
    host.writer.shutdown().await.unwrap();
    host.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_legacy_host_saves_a_note_and_reads_it() {
    let mut host = Host::of(Notes::default());
    let initialize =
        json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } });
    host.send(json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": initialize })).await;
    assert_eq!(host.next().await["result"]["protocolVersion"], "2025-06-18");
    host.send(json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await;
    let save = json!({ "name": "save_note", "arguments": { "title": "To  Do!", "text": "rest" } });
    host.send(json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": save })).await;
    assert_eq!(host.next().await["method"], "notifications/resources/list_changed");
    let saved = host.next().await;
    assert_eq!(saved["result"]["content"][1]["uri"], "note://to-do");
    assert!(saved["result"].get("resultType").is_none());
    host.send(json!({ "jsonrpc": "2.0", "id": 2, "method": "resources/read", "params": { "uri": "note://to-do" } }))
        .await;
    assert_eq!(host.next().await["result"]["contents"][0]["text"], "rest");
    host.send(json!({ "jsonrpc": "2.0", "id": 3, "method": "resources/read", "params": { "uri": "note://x" } })).await;
    assert_eq!(host.next().await["error"]["code"], -32002);
}

#[tokio::test]
async fn a_listener_is_told_of_new_notes() {
    let mut host = Host::of(Notes::default());
    host.modern(9, "subscriptions/listen", json!({ "notifications": { "resourcesListChanged": true } })).await;
    let acknowledged = host.next().await;
    assert_eq!(acknowledged["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(acknowledged["params"]["notifications"], json!({ "resourcesListChanged": true }));
    host.modern(1, "tools/call", json!({ "name": "save_note", "arguments": { "title": "a", "text": "b" } })).await;
    let told = host.next().await;
    assert_eq!(told["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 9);
    assert_eq!(host.next().await["id"], 1);
}

#[test]
fn events_may_be_cut_anywhere() {
    let text = ": hi\n\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata:{\"b\":2}\n\n";
    for cut in 0..text.len() {
        let (mut buffer, mut events, mut seen) = (text.as_bytes()[..cut].to_vec(), Events::default(), Vec::new());
        seen.extend(std::iter::from_fn(|| events.next(&mut buffer)));
        buffer.extend_from_slice(&text.as_bytes()[cut..]);
        seen.extend(std::iter::from_fn(|| events.next(&mut buffer)));
        assert_eq!(seen, [json!({ "a": 1 }), json!({ "b": 2 })]);
    }
}
