//! A scripted server on stdin and stdout: one message a line.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin, stdout},
    sync::mpsc,
    task::JoinSet,
};

use super::{
    server::{Link, Server},
    tape::Way,
};

/// Serves until stdin is closed.
pub async fn serve_stdio(server: Arc<Server>) -> std::io::Result<()> {
    let (out, mut messages) = mpsc::unbounded_channel::<Value>();
    let writer = tokio::spawn(async move {
        let mut to = stdout();
        while let Some(message) = messages.recv().await {
            to.write_all(format!("{message}\n").as_bytes()).await?;
            to.flush().await?;
        }
        std::io::Result::Ok(())
    });
    let number = server.recorder.connection();
    server.recorder.note(Way::Event, number, &json!({}), &json!({ "opened": "stdio" }));
    let mut calls = JoinSet::new();
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        while calls.try_join_next().is_some() {}
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let link = Link { number, own: out.clone(), general: out.clone(), head: json!({}) };
        let (server, out) = (server.clone(), out.clone());
        let mut call = Box::pin(async move {
            if let Some(answer) = server.take(link, message).await {
                let _ = out.send(answer);
            }
        });
        // What a message does at once is done before the next one is read, as a server with one thread would.
        if futures::poll!(&mut call).is_pending() {
            calls.spawn(call);
        }
    }
    calls.shutdown().await;
    server.recorder.note(Way::Event, number, &json!({}), &json!({ "ended": "stdio" }));
    server.state().end_session(number);
    drop((out, server));
    // Sessions and listeners hold senders too; what they still had to say has nobody to hear it.
    writer.abort();
    Ok(())
}
