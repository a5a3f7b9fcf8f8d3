//! An MCP server that does on request what servers should not: it hangs, answers far too much, leaves children behind.
//!
//! It speaks either era over stdin and stdout or over HTTP, and writes what happens to it into a journal, one line for one
//! event: `started TAG`, `told` (a cancellation arrived), `cancelled TAG` (it was the one of a running call) and `dropped TAG`
//! (the HTTP stream of a running call was closed). The tool `count` writes `counted MARK`, each time that it is called.

use std::{
    collections::HashMap,
    fs::File,
    io::Write,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use spanwire_mcp::{codes, meta};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod http;
mod stdio;

pub use http::serve_http;
pub use stdio::serve_stdio;

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";
/// How often `wait` looks for its file.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How the server behaves.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Speaks 2025-11-25 only instead of 2026-07-28 only.
    pub legacy: bool,
    /// Methods that are never answered.
    pub mute: Vec<String>,
    /// Where events are written.
    pub journal: Option<PathBuf>,
}

/// What all calls share.
pub struct FaultServer {
    options: Options,
    journal: Option<Mutex<File>>,
    running: AtomicUsize,
    peak: AtomicUsize,
    /// Calls that can be cancelled, by their id as JSON.
    open: Mutex<HashMap<String, CancellationToken>>,
}

/// A text of this many bytes that differs at every place where parts of it could be exchanged.
pub fn filler(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 8);
    let mut n = 0_u64;
    while text.len() < bytes {
        text.push_str(&format!("{n:07} "));
        n += 1;
    }
    text.truncate(bytes);
    text
}

/// FNV-1a of a text, in hex: enough to tell a reply that lost, doubled or moved a part from the right one.
pub fn digest(text: &str) -> String {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}")
}

impl FaultServer {
    /// A server; fails when its journal cannot be opened.
    pub fn new(options: Options) -> std::io::Result<Arc<Self>> {
        let open = |path| File::options().create(true).append(true).open(path);
        let journal = options.journal.as_ref().map(open).transpose()?.map(Mutex::new);
        let (running, peak) = Default::default();
        Ok(Arc::new(Self { options, journal, running, peak, open: Mutex::default() }))
    }

    fn note(&self, event: &str, tag: &str) {
        let Some(journal) = &self.journal else { return };
        let line = format!("{}\n", format!("{event} {tag}").trim());
        // One write, so that lines of several processes do not mix.
        let _ = journal.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }

    /// Takes a message; `None` when it gets no answer. Notifications on the way go to `out`.
    async fn take(&self, message: &Value, out: Option<&mpsc::UnboundedSender<Value>>) -> Option<Value> {
        let method = message["method"].as_str().unwrap_or_default();
        if method == "notifications/cancelled" {
            self.note("told", "");
            let id = message["params"]["requestId"].to_string();
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
            open.inspect(CancellationToken::cancel);
        }
        let id = message.get("id")?;
        if self.options.mute.iter().any(|mute| mute == method) {
            self.note("started", method);
            return std::future::pending().await;
        }
        let outcome = match method {
            "tools/call" => {
                let call = Call::enter(self, id, &message["params"]);
                if let (Some(out), Some(token)) = (out, message["params"]["_meta"].get(meta::PROGRESS_TOKEN)) {
                    let params = json!({ "progressToken": token, "progress": 1 });
                    let _ = out.send(json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params }));
                }
                tokio::select! {
                    outcome = self.tool(&message["params"]) => { call.leave(); outcome }
                    () = call.cancel.cancelled() => { call.note_once("cancelled"); return None }
                }
            }
            _ => self.about_itself(method),
        };
        Some(match outcome {
            Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
            Err((code, text)) => json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": text } }),
        })
    }

    fn about_itself(&self, method: &str) -> Result<Value, (i64, String)> {
        let (legacy, info) = (self.options.legacy, json!({ "name": "fault-server", "version": "0" }));
        let capabilities = json!({ "tools": {} });
        let mut result = match method {
            "initialize" if legacy => {
                return Ok(json!({ "protocolVersion": LEGACY, "capabilities": capabilities, "serverInfo": info }));
            }
            "server/discover" if !legacy => {
                json!({ "supportedVersions": [MODERN], "capabilities": capabilities, "_meta": { meta::SERVER_INFO: info } })
            }
            "tools/list" => {
                let names =
                    ["echo", "digest", "big", "hang", "wait", "busy", "peak", "pid", "spawn", "exit", "fail", "count"];
                let tools = names.map(|name| json!({ "name": name, "inputSchema": { "type": "object" } }));
                json!({ "tools": tools })
            }
            "ping" if legacy => json!({}),
            _ => return Err((codes::METHOD_NOT_FOUND, format!("no method {method:?} here"))),
        };
        if !legacy {
            result["resultType"] = "complete".into();
            result["ttlMs"] = 60_000.into();
            result["cacheScope"] = "public".into();
        }
        Ok(result)
    }

    async fn tool(&self, params: &Value) -> Result<Value, (i64, String)> {
        let arguments = &params["arguments"];
        let text = || arguments["text"].as_str().unwrap_or_default();
        let number = |name: &str| arguments[name].as_u64().unwrap_or_default();
        let answer = match params["name"].as_str().unwrap_or_default() {
            "echo" => text().to_owned(),
            "digest" => format!("{} {}", text().len(), digest(text())),
            "big" => filler(usize::try_from(number("bytes")).unwrap_or_default()),
            "hang" => std::future::pending().await,
            "wait" => {
                let file = PathBuf::from(arguments["file"].as_str().unwrap_or_default());
                while !file.exists() {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                "released".to_owned()
            }
            "busy" => {
                let _running = Running::enter(self);
                tokio::time::sleep(Duration::from_millis(number("ms"))).await;
                number("n").to_string()
            }
            "count" => {
                self.note("counted", arguments["mark"].as_str().unwrap_or_default());
                // Done, and not yet answered: the moment at which whoever asked must not be told that nothing was done.
                tokio::time::sleep(Duration::from_millis(number("ms"))).await;
                "counted".to_owned()
            }
            "peak" => self.peak.load(Ordering::SeqCst).to_string(),
            "pid" => std::process::id().to_string(),
            "spawn" => spawn_escapee().map_err(|error| (codes::INTERNAL_ERROR, error.to_string()))?,
            "exit" => std::process::exit(3),
            "fail" => return Err((arguments["code"].as_i64().unwrap_or_default(), "as you like".to_owned())),
            other => return Err((codes::INVALID_PARAMS, format!("no tool {other:?} here"))),
        };
        let mut result = json!({ "content": [{ "type": "text", "text": answer }], "isError": false });
        if !self.options.legacy {
            result["resultType"] = "complete".into();
        }
        Ok(result)
    }
}

/// A grandchild in a session of its own, which nobody waits for: its process id.
fn spawn_escapee() -> std::io::Result<String> {
    let script = "setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $!";
    let output = std::process::Command::new("sh").args(["-c", script]).stdin(Stdio::null()).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A call that is in the journal until it is answered.
struct Call<'a> {
    server: &'a FaultServer,
    id: String,
    tag: Mutex<Option<String>>,
    cancel: CancellationToken,
}

impl<'a> Call<'a> {
    fn enter(server: &'a FaultServer, id: &Value, params: &Value) -> Self {
        let (id, cancel) = (id.to_string(), CancellationToken::new());
        server.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), cancel.clone());
        let tag = params["arguments"]["tag"].as_str().map(str::to_owned);
        if let Some(tag) = &tag {
            server.note("started", tag);
        }
        Self { server, id, tag: Mutex::new(tag), cancel }
    }

    fn note_once(&self, event: &str) {
        if let Some(tag) = self.tag.lock().unwrap_or_else(PoisonError::into_inner).take() {
            self.server.note(event, &tag);
        }
    }

    fn leave(&self) {
        self.tag.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.server.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.note_once("dropped");
    }
}

/// One of the calls that `peak` counts.
struct Running<'a>(&'a FaultServer);

impl<'a> Running<'a> {
    fn enter(server: &'a FaultServer) -> Self {
        let now = server.running.fetch_add(1, Ordering::SeqCst) + 1;
        server.peak.fetch_max(now, Ordering::SeqCst);
        Self(server)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
