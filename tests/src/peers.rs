//! The real MCP servers and clients that `tests/peers/install.sh` installs, and the scripts in `tests/peers`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// Longest that a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that one run of a client script may take.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(120);

/// Where the peers are.
#[derive(Debug, Clone)]
pub struct Peers {
    folder: PathBuf,
    scripts: PathBuf,
}

/// A program and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables set for it.
    pub env: Vec<(String, String)>,
}

impl Program {
    /// A program without variables.
    pub fn new(command: impl AsRef<Path>, args: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let args = args.into_iter().map(|arg| text(arg.as_ref())).collect();
        Self { command: text(command.as_ref()), args, env: Vec::new() }
    }

    /// The same with a variable.
    #[must_use]
    pub fn with_env(mut self, key: &str, value: impl AsRef<Path>) -> Self {
        self.env.push((key.to_owned(), value.as_ref().to_string_lossy().into_owned()));
        self
    }

    /// `[servers.ID]` of a configuration file.
    pub fn config(&self, id: &str) -> String {
        let quote = spanwire_mcp::string_literal;
        let args: Vec<String> = self.args.iter().map(|arg| quote(arg)).collect();
        let env: Vec<String> = self.env.iter().map(|(key, value)| format!("{key} = {}", quote(value))).collect();
        format!(
            "[servers.{id}]\ncommand = {}\nargs = [{}]\nenv = {{ {} }}\n",
            quote(&self.command),
            args.join(", "),
            env.join(", ")
        )
    }
}

/// `[servers.ID]` of a configuration file, for a Streamable HTTP endpoint.
pub fn http_config(id: &str, url: &str) -> String {
    format!("[servers.{id}]\nurl = {}\n", spanwire_mcp::string_literal(url))
}

/// Which official SDK, in which era.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// The TypeScript SDK with `initialize`.
    TypeScriptLegacy,
    /// The TypeScript client pinned to 2026-07-28.
    TypeScriptModern,
    /// The Python SDK with `initialize`.
    PythonLegacy,
    /// The Python SDK in its 2026-07-28 mode.
    PythonModern,
}

impl Sdk {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::TypeScriptLegacy, Self::TypeScriptModern, Self::PythonLegacy, Self::PythonModern];

    /// `legacy` or `modern`.
    pub fn era(self) -> &'static str {
        match self {
            Self::TypeScriptLegacy | Self::PythonLegacy => "legacy",
            Self::TypeScriptModern | Self::PythonModern => "modern",
        }
    }
}

/// What a client connects to.
#[derive(Debug, Clone)]
pub enum Via {
    /// A Streamable HTTP endpoint.
    Http(String),
    /// The same, with a bearer token.
    Token(String, String),
    /// A child process.
    Stdio(Program),
}

impl Peers {
    /// Finds them: `SPANWIRE_PEERS_DIR`, else `spanwire/peers` in the user's cache.
    pub fn find() -> Result<Self> {
        let cache = || {
            let xdg = env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
            xdg.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))
        };
        let named = env::var_os("SPANWIRE_PEERS_DIR").filter(|path| !path.is_empty()).map(PathBuf::from);
        let folder = named.or_else(|| Some(cache()?.join("spanwire/peers"))).context("no HOME to look for peers in")?;
        ensure!(
            folder.join(".installed").is_file(),
            "the real MCP servers and clients are not in {}: run tests/peers/install.sh",
            folder.display()
        );
        Ok(Self { folder, scripts: Path::new(env!("CARGO_MANIFEST_DIR")).join("peers") })
    }

    /// server-everything over stdio.
    pub fn everything(&self) -> Program {
        Program::new("node", [self.npm_server("everything")])
    }

    /// server-filesystem over stdio, allowed to touch one folder.
    pub fn filesystem(&self, folder: &Path) -> Program {
        Program::new("node", [self.npm_server("filesystem").as_path(), folder])
    }

    /// server-memory over stdio, with its graph in a file.
    pub fn memory(&self, file: &Path) -> Program {
        Program::new("node", [self.npm_server("memory")]).with_env("MEMORY_FILE_PATH", file)
    }

    /// The FastMCP server over stdio.
    pub fn fastmcp_stdio(&self) -> Program {
        Program::new(self.python(), [self.script("servers/fastmcp_server.py").as_path(), Path::new("--stdio")])
    }

    /// A Python server of the tests: `body` handles each message as `message`; `reply(result)`, `fail(code, text)` and
    /// `send(object)` write.
    pub fn script_server(&self, body: &str) -> Program {
        let lines = || body.lines().filter(|line| !line.trim().is_empty());
        let indent = lines().map(|line| line.len() - line.trim_start().len()).min().unwrap_or(0);
        let body: Vec<String> = lines().map(|line| format!("    {}", &line[indent..])).collect();
        let script = format!("{SCRIPT_BEGIN}{}{SCRIPT_END}", body.join("\n"));
        Program::new("python3", ["-u", "-c", &script])
    }

    /// The Python with the SDK.
    pub fn python(&self) -> PathBuf {
        self.folder.join("venv/bin/python")
    }

    /// The folder that the peers were installed to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs a client script with a list of operations and returns what it printed: `{"server":…,"results":[…]}`.
    pub async fn run(&self, sdk: Sdk, via: &Via, ops: &Value) -> Result<Value> {
        self.run_with(sdk, via, ops, &[]).await
    }

    /// The same with further arguments, such as `--caps roots`.
    pub async fn run_with(&self, sdk: Sdk, via: &Via, ops: &Value, extra: &[&str]) -> Result<Value> {
        let mut command = match sdk {
            Sdk::TypeScriptLegacy | Sdk::TypeScriptModern => {
                let mut command = Command::new("node");
                command.arg(self.script("clients/ts_client.mjs"));
                command
            }
            Sdk::PythonLegacy | Sdk::PythonModern => {
                let mut command = Command::new(self.python());
                command.arg(self.script("clients/py_client.py"));
                command
            }
        };
        command.args(["--era", sdk.era(), "--ops", &ops.to_string()]).args(extra);
        match via {
            Via::Http(url) => drop(command.args(["--url", url])),
            Via::Token(url, token) => drop(command.args(["--url", url, "--token", token])),
            Via::Stdio(program) => {
                command.arg("--stdio").arg(&program.command).args(&program.args);
                command.envs(program.env.iter().map(|(key, value)| (key, value)));
            }
        }
        command.env("SPANWIRE_PEERS_DIR", &self.folder).stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(CLIENT_TIMEOUT, command.output()).await;
        let output = output.with_context(|| format!("{sdk:?} via {via:?} did not end within {CLIENT_TIMEOUT:?}"))??;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "{sdk:?} via {via:?} ended with {}: {stdout}{stderr}", output.status);
        serde_json::from_str(&stdout).with_context(|| format!("{sdk:?} printed no JSON: {stdout}{stderr}"))
    }

    fn npm_server(&self, name: &str) -> PathBuf {
        self.folder.join(format!("node_modules/@modelcontextprotocol/server-{name}/dist/index.js"))
    }

    fn script(&self, path: &str) -> PathBuf {
        self.scripts.join(path)
    }
}

const SCRIPT_BEGIN: &str = r#"
import json, os, sys, time
def send(message): sys.stdout.write(json.dumps(message) + "\n"); sys.stdout.flush()
def handle(message):
    method, params = message.get("method"), message.get("params") or {}
    def reply(result): send({"jsonrpc": "2.0", "id": message["id"], "result": result})
    def fail(code, text): send({"jsonrpc": "2.0", "id": message["id"], "error": {"code": code, "message": text}})
    def hello(**capabilities):
        reply({"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": {"name": "script", "version": "1"}})
    def tool(name, **more): return {"name": name, "inputSchema": {"type": "object"}, **more}
"#;
const SCRIPT_END: &str = "
for line in sys.stdin:
    handle(json.loads(line))
";

/// The operation `call` of a client script.
pub fn call(name: &str, arguments: Value) -> Value {
    json!({ "op": "call", "name": name, "arguments": arguments })
}

/// The FastMCP server over Streamable HTTP. It is killed when this is dropped.
pub struct FastMcp {
    process: Child,
    url: String,
}

impl FastMcp {
    /// Starts it on a free port.
    pub async fn start() -> Result<Self> {
        Self::start_with(&Peers::find()?, &[]).await
    }

    /// The same with further arguments, such as `--page-size 2`.
    pub async fn start_with(peers: &Peers, args: &[&str]) -> Result<Self> {
        let mut command = Command::new(peers.python());
        command.arg(peers.script("servers/fastmcp_server.py")).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().context("cannot start the fastmcp server")?;
        let stderr = process.stderr.take().context("stderr is no pipe")?;
        let mut lines = BufReader::new(stderr).lines();
        let mut log = String::new();
        let url = timeout(START_TIMEOUT, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, url)) = line.split_once("listening on ") {
                    return anyhow::Ok(Some(url.trim().to_owned()));
                }
                log.push_str(&line);
                log.push('\n');
            }
            Ok(None)
        });
        let url = url.await.context("the fastmcp server did not listen in time")??;
        let url = url.with_context(|| format!("the fastmcp server ended: {log}"))?;
        // It must never wait for somebody to read its log.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { process, url })
    }

    /// Its MCP endpoint.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Kills it, as a crash.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }
}

/// Writes files into a folder for server-filesystem to serve: text, a picture and a folder in it.
pub fn fill_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("notes"))?;
    fs::write(folder.join("hello.txt"), "hello from a file\n")?;
    fs::write(folder.join("notes/rome.txt"), "all roads\nlead here\n")?;
    fs::write(folder.join("pixel.png"), PIXEL_PNG)?;
    Ok(())
}

/// The smallest PNG that is one.
const PIXEL_PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0, 1, 0, 0, 0, 1, 8,
    6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0, 0, 0x0d, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x64, 0xf8, 0xcf,
    0x50, 0x0f, 0, 3, 0x86, 1, 0x80, 0x5a, 0x34, 0x7d, 0x6b, 0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60,
    0x82,
];
