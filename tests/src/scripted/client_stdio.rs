//! A scripted client that is a host of `spanwire stdio`: one message a line.

use std::{process::Stdio, sync::Arc};

use anyhow::{Context, Result};
use async_trait::async_trait;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::Mutex,
};

use super::client::{Client, Declared, Got, Inbox, Wire};
use crate::node::program;

/// A wire over the pipes of the bridge. Dropping it ends the bridge.
pub struct StdioClient {
    stdin: Mutex<ChildStdin>,
    _child: Child,
}

impl StdioClient {
    /// Starts a bridge to an endpoint and opens a client on it.
    pub async fn open(endpoint: &str, token: &str, declared: Declared) -> Result<Client> {
        let mut child = Command::new(program()?)
            .args(["stdio", "--url", endpoint])
            .env("SPANWIRE_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take().context("stdin is no pipe")?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout is no pipe")?).lines();
        let (inbox, questions) = Inbox::new();
        let to = inbox.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let message = serde_json::from_str(&line).unwrap_or(Value::String(line));
                to.push(Got { on: Value::Null, status: 0, message });
            }
        });
        let wire = Arc::new(Self { stdin: Mutex::new(stdin), _child: child });
        Client::open(wire, inbox, questions, declared).await
    }
}

#[async_trait]
impl Wire for StdioClient {
    async fn send(&self, message: &Value, _: &[(String, String)]) -> Result<()> {
        let mut stdin = self.stdin.lock().await;
        stdin.write_all(format!("{message}\n").as_bytes()).await?;
        Ok(stdin.flush().await?)
    }

    fn end(&self, _: &Value) -> bool {
        false
    }
}
