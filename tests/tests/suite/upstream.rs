//! The server edge: real servers, hostile servers, and what is left of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod era;
mod guard;
mod http;
mod stdio;

use std::{path::PathBuf, time::Duration};

use futures::StreamExt;
use spanwire_mcp::{Json, Method};
use spanwire_model::{
    Connected, Connector, EraChoice, Event, Outcome, Reply, Result, ServerSpec, StdioTarget, Target, UpstreamCall,
};
use spanwire_stdio::{Config, StdioConnector};

/// Longer than anything that is waited for may ever take.
const LONG: Duration = Duration::from_secs(60);

/// The binary under test: beside the folder of the test executable.
fn spanwire() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("spanwire")
}

fn client_info() -> Json {
    Json::from_trusted(r#"{"name":"suite","version":"1"}"#)
}

fn config() -> Config {
    let mut config = Config::new(spanwire(), client_info());
    config.grace = Duration::from_millis(500);
    config.settings.timeouts.probe = Duration::from_secs(2);
    config.settings.timeouts.handshake = Duration::from_secs(20);
    config
}

fn spec(target: Target, era: EraChoice) -> ServerSpec {
    ServerSpec {
        id: "under-test".parse().unwrap(),
        target,
        era,
        max_in_flight: None,
        call_timeout_ms: None,
        placement: spanwire_model::Placement::Here,
        replicas: 1,
    }
}

fn command(program: &str, args: &[&str]) -> ServerSpec {
    let args = args.iter().map(|arg| (*arg).to_owned()).collect();
    let target = StdioTarget { command: program.to_owned(), args, ..StdioTarget::default() };
    spec(Target::Stdio(target), EraChoice::Auto)
}

/// A Python server: `body` is called with each message as `message`; `send(object)` writes one.
fn python(body: &str) -> ServerSpec {
    let script = format!("{PRELUDE}\n{}\nloop(handle)\n", indent_free(body));
    command("python3", &["-u", "-c", &script])
}

fn indent_free(text: &str) -> String {
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let indent = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
    lines().map(|line| &line[indent..]).collect::<Vec<_>>().join("\n")
}

const PRELUDE: &str = r#"
import json, os, subprocess, signal, sys, time
def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n"); sys.stdout.flush()
def answer(message, result):
    send({"id": message["id"], "result": result})
def refuse(message, code, text):
    send({"id": message["id"], "error": {"code": code, "message": text}})
def greet(message, **capabilities):
    if message["method"] == "initialize":
        answer(message, {"protocolVersion": message["params"]["protocolVersion"], "capabilities": capabilities,
                         "serverInfo": {"name": "python", "version": "1"}})
        return True
    if message["method"] == "server/discover":
        refuse(message, -32601, "Method not found")
        return True
    return "id" not in message
def loop(handle):
    for line in sys.stdin:
        handle(json.loads(line))
"#;

async fn connect(spec: &ServerSpec) -> Result<Connected> {
    within(StdioConnector::new(config()).connect(spec, None)).await
}

async fn connect_fenced(spec: &ServerSpec, fence: &spanwire_model::Fence) -> Result<Connected> {
    within(StdioConnector::new(config()).connect_fenced(spec, None, fence)).await
}

async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(LONG, what).await.expect("took too long")
}

fn call(method: Method, params: serde_json::Value) -> UpstreamCall {
    UpstreamCall {
        principal: "anna".into(),
        call_id: uuid::Uuid::now_v7(),
        method,
        params: Json::from_serialize(&params).unwrap(),
        deadline: tokio::time::Instant::now() + LONG,
        trace: None,
    }
}

async fn ask(connected: &Connected, method: Method, params: serde_json::Value) -> Outcome {
    within(connected.upstream.call(call(method, params)).outcome()).await
}

/// All events up to the outcome.
async fn events(reply: Reply) -> Vec<Event> {
    within(reply.collect()).await
}

/// A package of the peers that the tests were given; `None` skips a test.
fn peer(path: &str) -> Option<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let root = std::env::var_os("SPANWIRE_PEERS_DIR").map_or_else(|| cache.join("spanwire/peers"), PathBuf::from);
    let file = root.join("node_modules").join(path);
    if file.exists() {
        return Some(file.to_string_lossy().into_owned());
    }
    eprintln!("skipped: no {path} among the test peers");
    None
}
