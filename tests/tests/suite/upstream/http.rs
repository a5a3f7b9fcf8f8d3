//! Servers over HTTP, good ones and bad ones.

mod hostile;
mod resume;
mod scripted;
mod sse2024;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::json;
use spanwire_http::client::{Config as HttpConfig, HttpConnector};
use spanwire_mcp::Era;
use spanwire_model::HttpTarget;

use super::*;

fn http_config() -> HttpConfig {
    let mut config = HttpConfig::new(client_info());
    config.settings.timeouts.handshake = Duration::from_secs(20);
    config
}

fn endpoint(url: &str) -> ServerSpec {
    spec(Target::Http(HttpTarget { url: url.to_owned(), ..HttpTarget::default() }), EraChoice::Auto)
}

async fn reach(url: &str) -> Result<Connected> {
    within(HttpConnector::new(http_config()).connect(&endpoint(url), None)).await
}

/// A real server in a process of its own; killed at the end.
struct Peer {
    child: Child,
    url: String,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    /// Waits for a line on stdout or stderr that holds `ready`.
    fn start(mut command: Command, ready: &str, port: impl Fn(&str) -> Option<u16>) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut peer = Self { child, url: String::new() };
        let (lines_tx, lines) = std::sync::mpsc::channel();
        pass_on(peer.child.stdout.take().unwrap(), lines_tx.clone());
        pass_on(peer.child.stderr.take().unwrap(), lines_tx);
        let mut seen: Vec<String> = Vec::new();
        loop {
            let line = lines.recv_timeout(LONG).unwrap_or_else(|_| panic!("the peer is not ready: {seen:?}"));
            if let Some(port) = line.contains(ready).then(|| port(&line)).flatten() {
                peer.url = format!("http://127.0.0.1:{port}/mcp");
                return peer;
            }
            seen.push(line);
        }
    }

    fn everything(transport: &str) -> Option<Self> {
        let file = peer("@modelcontextprotocol/server-everything/dist/index.js")?;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("node");
        command.args([&*file, transport]).env("PORT", free.to_string());
        Some(Self::start(command, "on port", move |_| Some(free)))
    }

    /// `app` is the method that makes the application: `streamable_http_app` or `sse_app`.
    fn python(app: &str) -> Option<Self> {
        let python = peer("../venv/bin/python")?;
        let mut command = Command::new(python);
        command.args(["-u", "-c", &PYTHON.replace("APP", app)]);
        Some(Self::start(command, "port=", |line| line.split("port=").nth(1)?.trim().parse().ok()))
    }
}

/// Reads to the end, so that the peer never waits for room in its pipe.
fn pass_on(from: impl std::io::Read + Send + 'static, to: std::sync::mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(std::result::Result::ok) {
            let _ = to.send(line);
        }
    });
}

const PYTHON: &str = r#"
import socket, uvicorn
from mcp.server.mcpserver import MCPServer, Context
server = MCPServer("python")
@server.tool()
def add(a: int, b: int) -> int:
    return a + b
@server.tool()
async def steps(ctx: Context) -> str:
    for step in range(3):
        await ctx.report_progress(step, 3)
    return "done"
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen()
print(f"port={listener.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(server.APP(), log_level="warning")).run(sockets=[listener])
"#;

#[tokio::test]
async fn the_everything_server_works_over_http() {
    let Some(peer) = Peer::everything("streamableHttp") else { return };
    let connected = reach(&peer.url).await.unwrap();
    assert_eq!(connected.facts.era(), Era::Legacy);
    let echo = json!({"name": "echo", "arguments": {"message": "hi"}});
    let result = ask(&connected, Method::ToolsCall, echo).await.unwrap();
    assert!(result.as_str().starts_with(r#"{"resultType":"complete","#) && result.as_str().contains("Echo: hi"));
    let long = json!({"name": "trigger-long-running-operation", "arguments": {"duration": 1, "steps": 3},
        "_meta": {"progressToken": 5}});
    let events = events(connected.upstream.call(call(Method::ToolsCall, long))).await;
    assert!(events.iter().any(|event| matches!(event, Event::Progress(_))), "{events:?}");
    within(connected.upstream.close()).await;
}

#[tokio::test]
async fn a_modern_python_server_works_over_http() {
    let Some(peer) = Peer::python("streamable_http_app") else { return };
    let connected = reach(&peer.url).await.unwrap();
    assert_eq!(connected.facts.era(), Era::Modern);
    let add = json!({"name": "add", "arguments": {"a": 2, "b": 3}});
    let result = ask(&connected, Method::ToolsCall, add).await.unwrap();
    assert!(result.as_str().contains("\"5\""), "{result:?}");
    let steps = json!({"name": "steps", "arguments": {}, "_meta": {"progressToken": "t"}});
    let events = events(connected.upstream.call(call(Method::ToolsCall, steps))).await;
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Progress(_))).count(), 3, "{events:?}");
    assert!(matches!(events.last(), Some(Event::Done(Ok(_)))), "{events:?}");
}

#[tokio::test]
async fn a_modern_python_server_works_when_it_is_taken_for_a_legacy_one() {
    let Some(peer) = Peer::python("streamable_http_app") else { return };
    let legacy = ServerSpec { era: EraChoice::Legacy, ..endpoint(&peer.url) };
    let connected = within(HttpConnector::new(http_config()).connect(&legacy, None)).await.unwrap();
    assert_eq!(connected.facts.era(), Era::Legacy);
    let add = json!({"name": "add", "arguments": {"a": 2, "b": 3}});
    assert!(ask(&connected, Method::ToolsCall, add).await.is_ok());
    within(connected.upstream.close()).await;
}

#[tokio::test]
async fn nobody_is_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = reach(&format!("http://{free}/mcp")).await.err().unwrap();
    assert_eq!(error.kind, spanwire_model::ErrorKind::Unavailable);
    assert_eq!(error.public, "server \"under-test\" cannot be reached");
}
