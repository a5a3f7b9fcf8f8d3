//! One message a line.

use std::sync::Arc;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout},
    sync::mpsc,
    task::JoinSet,
};

use super::FaultServer;

/// Serves until stdin is closed.
pub async fn serve_stdio(server: Arc<FaultServer>) -> std::io::Result<()> {
    let (out, mut messages) = mpsc::unbounded_channel::<serde_json::Value>();
    let writer = tokio::spawn(async move {
        let mut to = stdout();
        while let Some(message) = messages.recv().await {
            let line = format!("{message}\n");
            to.write_all(line.as_bytes()).await?;
            to.flush().await?;
        }
        std::io::Result::Ok(())
    });
    // Dropping the set at the end forgets the calls that hang.
    let mut calls = JoinSet::new();
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        while calls.try_join_next().is_some() {}
        let Ok(message) = serde_json::from_str(&line) else { continue };
        let (server, out) = (server.clone(), out.clone());
        calls.spawn(async move {
            if let Some(answer) = server.take(&message, Some(&out)).await {
                let _ = out.send(answer);
            }
        });
    }
    drop(calls);
    drop(out);
    writer.await?
}
