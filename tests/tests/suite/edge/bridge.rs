//! The bridge from stdio to the edge.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, Lines};

use super::{line::Line, *};

/// A host whose MCP server is the bridge.
struct Host {
    stdin: DuplexStream,
    stdout: Lines<BufReader<DuplexStream>>,
    bridge: tokio::task::JoinHandle<Result<(), spanwire_http::bridge::BridgeError>>,
}

impl Host {
    fn start(url: String) -> Self {
        let (stdin, theirs) = tokio::io::duplex(1 << 16);
        let (output, stdout) = tokio::io::duplex(1 << 16);
        let bridge = tokio::spawn(spanwire_http::bridge::run(url, Some("ann-token".to_owned()), theirs, output));
        Self { stdin, stdout: BufReader::new(stdout).lines(), bridge }
    }

    async fn send(&mut self, message: &Value) {
        self.stdin.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        let line = soon(self.stdout.next_line()).await.unwrap().expect("the bridge ended");
        serde_json::from_str(&line).unwrap()
    }

    /// Closes stdin and waits for the end; returns what was still said.
    async fn end(mut self) -> Vec<String> {
        drop(self.stdin);
        let mut rest = Vec::new();
        while let Some(line) = soon(self.stdout.next_line()).await.unwrap() {
            rest.push(line);
        }
        soon(self.bridge).await.unwrap().unwrap();
        rest
    }
}

#[tokio::test]
async fn a_modern_host() {
    let node = node().await;
    let mut host = Host::start(node.url());
    host.send(&call("echo")).await;
    let answer = host.next().await;
    assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(1), &json!("complete")));
    assert_eq!(&*node.double.last().principal.name, "ann");

    host.send(&modern("tools/call", json!({"name": "progress", "_meta": {"progressToken": 5}}))).await;
    for expected in [json!(1), json!(2)] {
        assert_eq!(host.next().await["params"]["progress"], expected);
    }
    assert_eq!(host.next().await["id"], 1);

    // Two at once; cancelling one closes its stream and leaves the other.
    let mut listen = modern("subscriptions/listen", json!({"notifications": {}}));
    listen["id"] = json!("sub");
    host.send(&listen).await;
    assert_eq!(host.next().await["method"], "notifications/subscriptions/acknowledged");
    let mut stuck = call("stuck");
    stuck["id"] = json!("stuck");
    host.send(&stuck).await;
    assert_eq!(host.next().await["method"], "notifications/progress");
    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "stuck"}})).await;
    assert_eq!(node.double.dropped().await, "progress");
    assert_eq!(node.double.dropped().await, "stuck");
    host.send(&modern("x/unknown", json!({}))).await;
    assert_eq!(host.next().await["error"]["code"], -32601);
    assert_eq!(host.end().await, Vec::<String>::new());
    assert_eq!(node.double.dropped().await, "listen");
}

/// A host on stdio mirrors nothing; the bridge does, since the edge compares.
#[tokio::test]
async fn a_modern_host_need_not_mirror_arguments() {
    let node = node().await;
    let mut host = Host::start(node.url());
    let sql = |id: u32, region: Value| {
        let mut body = modern("tools/call", json!({"name": "sql", "arguments": {"region": region}}));
        body["id"] = json!(id);
        body
    };
    // Learned with the first call, known to the second, and a changed value is another header.
    for (id, region) in [(1, json!("us-west1")), (2, json!("us-west1")), (3, json!("Zürich")), (4, Value::Null)] {
        host.send(&sql(id, region.clone())).await;
        let answer = host.next().await;
        assert_eq!((&answer["id"], &answer["result"]["resultType"]), (&json!(id), &json!("complete")), "{answer}");
        assert_eq!(node.double.last().params.to_value()["arguments"]["region"], region);
    }
    let listed = node.double.calls.lock().unwrap().iter().filter(|call| call.method.as_str() == "tools/list").count();
    assert_eq!(listed, 1);
    assert_eq!(host.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_legacy_host_outlives_its_session() {
    let node = node().await;
    let mut host = Host::start(node.url());
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}}});
    host.send(&initialize).await;
    assert_eq!(host.next().await["result"]["protocolVersion"], "2025-06-18");
    host.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    assert_eq!(host.next().await["result"]["tools"][0]["name"], "echo");
    // The node loses the session; the bridge opens it again.
    let first = node.double.last().client.session_id.unwrap();
    let delete = node.client.delete(node.url()).header("mcp-session-id", &*first);
    assert_eq!(ask(delete.header("authorization", "Bearer ann-token")).await.0, 204);
    host.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
    assert_eq!(host.next().await["result"]["tools"][0]["name"], "echo");
    let second = node.double.last().client.session_id.unwrap();
    assert_ne!(first, second);

    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    host.send(&json!({"jsonrpc": "2.0", "id": 3, "method": "resources/subscribe", "params": {"uri": "a:1"}})).await;
    assert_eq!(host.next().await["result"], json!({}));
    node.double.changes.send(double::notification("notifications/tools/list_changed", json!({}))).unwrap();
    assert_eq!(host.next().await["method"], "notifications/tools/list_changed");
    host.send(&json!({"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "stuck"}})).await;
    assert_eq!(host.next().await["method"], "notifications/progress");
    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 4}})).await;
    host.send(&json!({"jsonrpc": "2.0", "id": 5, "method": "ping"})).await;
    assert_eq!(host.next().await["id"], 5);
    assert_eq!(host.end().await, Vec::<String>::new());
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"}).to_string();
    let late = accept_both(node.client.post(node.url())).header("mcp-session-id", &*second);
    assert_eq!(ask(late.header("authorization", "Bearer ann-token").body(ping)).await.0, 404, "DELETE at the end");
}

#[tokio::test]
async fn a_legacy_host_in_a_hurry_is_understood() {
    let node = node().await;
    let mut host = Host::start(node.url());
    // All at once, without waiting for the answer to initialize.
    let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}});
    host.send(&initialize).await;
    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    host.send(&call).await;
    assert_eq!(host.next().await["result"]["protocolVersion"], "2025-06-18");
    let answer = host.next().await;
    assert_eq!((&answer["id"], answer.get("error")), (&json!(1), None));
    host.end().await;
}

impl Host {
    /// Opens a session whose client has roots.
    async fn initialize(&mut self, revision: &str) {
        let initialize = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": revision, "capabilities": {"roots": {}}, "clientInfo": {"name": "t", "version": "1"}}});
        self.send(&initialize).await;
        assert_eq!(self.next().await["result"]["protocolVersion"], revision);
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    }

    async fn call(&mut self, id: i64, tool: &str, arguments: Value) {
        let params = json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": id}});
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})).await;
    }

    async fn answer(&mut self, request: &Value, result: Value) {
        self.send(&json!({"jsonrpc": "2.0", "id": request["id"], "result": result})).await;
    }

    /// The next line that is no progress.
    async fn next_but_progress(&mut self) -> Value {
        loop {
            let line = self.next().await;
            if line["method"] != "notifications/progress" {
                return line;
            }
        }
    }
}

fn rounds() -> Value {
    json!({"rounds": [{"a": {"method": "roots/list"}, "b": {"method": "roots/list"}}, {"c": {"method": "roots/list"}}]})
}

#[tokio::test]
async fn a_legacy_host_is_asked_and_answers() {
    let node = node().await;
    for revision in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        let mut host = Host::start(node.url());
        host.initialize(revision).await;
        // Two calls at once: each answer finds its own.
        host.call(1, "asks", rounds()).await;
        let (first, second) = (host.next_but_progress().await, host.next_but_progress().await);
        assert_eq!(first, json!({"jsonrpc": "2.0", "id": first["id"], "method": "roots/list"}));
        host.call(2, "asks", json!({"rounds": [{"d": {"method": "roots/list"}}]})).await;
        let other = host.next_but_progress().await;
        host.answer(&second, json!({"roots": [{"uri": "file:///b"}]})).await;
        host.answer(&other, json!({"roots": [{"uri": "file:///d"}]})).await;
        let ended = host.next_but_progress().await;
        assert_eq!(ended["id"], 2);
        let answers = json!({"d": {"roots": [{"uri": "file:///d"}]}});
        assert_eq!(ended["result"]["structuredContent"]["inputResponses"], answers);
        host.answer(&first, json!({"roots": []})).await;
        let third = host.next_but_progress().await;
        host.answer(&third, json!({"roots": []})).await;
        let ended = host.next_but_progress().await;
        assert_eq!(
            (&ended["id"], &ended["result"]["structuredContent"]["requestState"]),
            (&json!(1), &json!("round \"2"))
        );
        assert_eq!(host.end().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_host_that_cancels_hears_that_it_is_not_asked_any_more() {
    let node = node().await;
    let mut host = Host::start(node.url());
    host.initialize("2025-06-18").await;
    host.call(1, "asks", json!({"rounds": [{"a": {"method": "roots/list"}}]})).await;
    let asked = host.next_but_progress().await;
    host.send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})).await;
    let told = host.next().await;
    assert_eq!((&told["method"], &told["params"]["requestId"]), (&json!("notifications/cancelled"), &asked["id"]));
    // The id is free, and the late answer disturbs nobody.
    host.answer(&asked, json!({"roots": []})).await;
    host.call(1, "echo", json!({})).await;
    assert_eq!(host.next().await["id"], 1);
    assert_eq!(host.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_legacy_host_does_not_notice_a_broken_connection() {
    let node = node().await;
    for revision in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        let line = Line::to(node.address).await;
        let mut host = Host::start(line.url());
        host.initialize(revision).await;
        host.call(5, "paced", json!({})).await;
        node.paced(1).await;
        node.pace(&[1]);
        assert_eq!(host.next().await["params"]["progress"], 1);
        line.cut();
        node.pace(&[2]);
        assert_eq!(host.next().await["params"], json!({"progressToken": 5, "progress": 2}));
        line.cut();
        node.pace(&[0]);
        assert_eq!(host.next().await["id"], 5);
        // The same while the host is asked.
        host.call(6, "asks", json!({"rounds": [{"a": {"method": "roots/list"}}]})).await;
        let asked = host.next_but_progress().await;
        line.cut();
        host.answer(&asked, json!({"roots": []})).await;
        let ended = host.next().await;
        assert_eq!((&ended["id"], ended.get("error")), (&json!(6), None), "{revision}: {ended}");
        // And on the session's own stream: no change is told twice, and none is lost.
        for n in 1..4 {
            let change = json!({"_meta": {"n": n}});
            node.double.changes.send(double::notification("notifications/tools/list_changed", change)).unwrap();
            assert_eq!(host.next().await["params"]["_meta"]["n"], n);
            line.cut();
        }
        assert_eq!(host.end().await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_stream_that_is_gone_is_an_answer() {
    let node = node_with(|config, _| config.resume_timeout = Duration::from_millis(1)).await;
    let line = Line::to(node.address).await;
    let mut host = Host::start(line.url());
    host.initialize("2025-11-25").await;
    host.call(5, "paced", json!({})).await;
    node.paced(1).await;
    node.pace(&[1]);
    assert_eq!(host.next().await["params"]["progress"], 1);
    line.cut();
    assert_eq!(node.double.dropped().await, "paced");
    let answer = host.next().await;
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(5), &json!(50410)));
    assert_eq!(host.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_modern_host_is_asked_nothing() {
    let node = node().await;
    let mut host = Host::start(node.url());
    host.send(&json!({"jsonrpc": "2.0", "id": 9, "result": {}})).await;
    host.send(&call("echo")).await;
    assert_eq!(host.next().await["id"], 1);
    assert_eq!(host.end().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_node_that_is_down_is_an_answer() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    let mut host = Host::start(url);
    for _ in 0..2 {
        host.send(&call("echo")).await;
        let answer = host.next().await;
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!(1), &json!(50300)));
    }
    host.stdin.write_all(b"not json\n\n\xff\n").await.unwrap();
    assert_eq!(host.next().await["error"]["code"], -32700);
    assert_eq!(host.next().await["error"]["code"], -32700);
    assert_eq!(host.end().await, Vec::<String>::new());
}
