//! The server that is broken, over each transport and in each era.

use std::{fs, path::PathBuf, process::Stdio};

use spanwire_mcp::string_literal;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::eventually;

/// How the server is reached, and what it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    StdioModern,
    StdioLegacy,
    HttpModern,
    HttpLegacy,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::StdioModern, Self::StdioLegacy, Self::HttpModern, Self::HttpLegacy];

    pub(super) fn is_stdio(self) -> bool {
        matches!(self, Self::StdioModern | Self::StdioLegacy)
    }

    fn is_legacy(self) -> bool {
        matches!(self, Self::StdioLegacy | Self::HttpLegacy)
    }
}

/// A server with its journal. Over HTTP it is a process of the test, else one of the node.
pub(super) struct Server {
    pub(super) id: String,
    pub(super) kind: Kind,
    args: Vec<String>,
    folder: tempfile::TempDir,
    http: Option<(Child, String)>,
}

impl Server {
    pub(super) async fn new(id: &str, kind: Kind) -> Self {
        Self::with(id, kind, &[]).await
    }

    /// A server with further arguments, such as `--mute initialize`.
    pub(super) async fn with(id: &str, kind: Kind, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("journal").to_string_lossy().into_owned();
        let mut args = vec!["--journal".to_owned(), journal];
        args.extend(more.iter().map(ToString::to_string));
        if kind.is_legacy() {
            args.push("--legacy".to_owned());
        }
        let mut server = Self { id: id.to_owned(), kind, args, folder, http: None };
        if !kind.is_stdio() {
            server.http = Some(server.listen("127.0.0.1:0").await);
        }
        server
    }

    /// Its section of a node's configuration.
    pub(super) fn config(&self, settings: &str) -> String {
        let target = match &self.http {
            Some((_, url)) => format!("url = {}", string_literal(url)),
            None => {
                let args: Vec<String> = self.args.iter().map(|arg| string_literal(arg)).collect();
                format!("command = {}\nargs = [{}]", string_literal(program()), args.join(", "))
            }
        };
        format!("[servers.{}]\n{target}\n{settings}\n", self.id)
    }

    /// A tool as clients call it.
    pub(super) fn tool(&self, name: &str) -> String {
        format!("{}__{name}", self.id)
    }

    /// Kills the process of a server over HTTP.
    pub(super) async fn kill(&mut self) {
        let (process, _) = self.http.as_mut().unwrap();
        process.kill().await.unwrap();
    }

    /// Starts it again at the same address.
    pub(super) async fn restart(&mut self) {
        let (_, url) = self.http.take().unwrap();
        let address = url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
        self.http = Some(self.listen(&address).await);
    }

    /// What happened to it until now.
    pub(super) fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn saw(&self, event: &str) -> bool {
        self.journal().iter().any(|line| line == event)
    }

    /// Waits for an event.
    pub(super) async fn sees(&self, event: &str) {
        let look = async || self.saw(event).then_some(());
        eventually(&format!("{:?} server \"{}\" sees {event:?}", self.kind, self.id), look).await;
    }

    /// Waits until it was told, in the manner of its transport, that a call is no longer wanted.
    pub(super) async fn sees_end_of(&self, tag: &str) {
        match self.kind {
            Kind::StdioModern | Kind::StdioLegacy => self.sees(&format!("cancelled {tag}")).await,
            Kind::HttpModern => self.sees(&format!("dropped {tag}")).await,
            // Its stream is closed too, and that may come first.
            Kind::HttpLegacy => {
                self.sees("told").await;
                let ends = [format!("cancelled {tag}"), format!("dropped {tag}")];
                let look = async || ends.iter().any(|end| self.saw(end)).then_some(());
                eventually(&format!("the end of {tag}"), look).await;
            }
        }
    }

    /// A file in the folder of the server, for the tool `wait`.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn listen(&self, address: &str) -> (Child, String) {
        let mut command = Command::new(program());
        command
            .args(&self.args)
            .args(["--http", address])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = lines.next_line().await.unwrap().expect("the server ended at once");
        (process, url)
    }
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_spanwire-fault-server")
}
