//! Slow, idle and surplus connections, and the drain.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

const HEAD: &str =
    "POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";

/// What the node sends until it closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = soon(stream.read_to_end(&mut bytes)).await;
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn a_slow_upload_times_out() {
    let node = node_with(|config, _| config.body_read_timeout = Duration::from_millis(100)).await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(HEAD.as_bytes()).await.unwrap();
    stream.write_all(b"{").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("did not arrive within 100ms"), "{answer}");
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_without_reading_it() {
    let node = node_with(|config, _| config.max_body_bytes = 100).await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(HEAD.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn slow_headers_and_idle_connections_are_closed() {
    let node = node_with(|_, limits| {
        limits.header_read_timeout = Duration::from_millis(100);
        limits.idle_timeout = Duration::from_millis(300);
    })
    .await;
    let mut slow = TcpStream::connect(node.address).await.unwrap();
    slow.write_all(b"POST /mcp HTTP/1.1\r\nhost:").await.unwrap();
    let mut idle = TcpStream::connect(node.address).await.unwrap();
    assert_eq!(rest(&mut slow).await, "");
    assert_eq!(rest(&mut idle).await, "");
    // A running request is not idle.
    let mut events = Events::open(node.post(&call("stuck"))).await;
    events.message().await.unwrap();
    let open = tokio::time::timeout(Duration::from_millis(700), events.message()).await;
    assert!(open.is_err(), "a busy connection was closed: {open:?}");
}

#[tokio::test]
async fn connections_above_the_limit_wait() {
    let node = node_with(|_, limits| limits.max_connections = 1).await;
    let first = TcpStream::connect(node.address).await.unwrap();
    let body = call("echo");
    let waits = tokio::time::timeout(Duration::from_millis(200), node.post(&body).send()).await;
    assert!(waits.is_err());
    drop(first);
    assert_eq!(ask(node.post(&body)).await.0, 200);
}

#[tokio::test]
async fn shutdown_drains_and_then_cuts() {
    let node = node_with(|config, limits| {
        config.keep_alive = Duration::from_millis(20);
        limits.drain_timeout = Duration::from_millis(200);
    })
    .await;
    let mut events = Events::open(node.post(&call("stuck"))).await;
    events.message().await.unwrap();
    node.shutdown.cancel();
    assert_eq!(node.double.dropped().await, "stuck");
    assert!(soon(node.client.get(node.url()).send()).await.is_err());
}
