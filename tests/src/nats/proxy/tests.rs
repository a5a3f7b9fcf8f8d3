#![allow(clippy::unwrap_used)]

use tokio::{task::JoinHandle, time::timeout};

use super::*;

/// Longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long nothing must come. It can only hide a failure, not make one.
const QUIET: Duration = Duration::from_millis(50);

/// A proxy, both ends of one connection through it, and the listener behind it.
struct Line {
    proxy: Proxy,
    client: TcpStream,
    server: TcpStream,
    listener: TcpListener,
}

impl Line {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        let (server, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        Self { proxy, client, server, listener }
    }
}

async fn arrives(stream: &mut TcpStream, text: &str) {
    let mut got = vec![0; text.len()];
    timeout(PATIENCE, stream.read_exact(&mut got)).await.unwrap().unwrap();
    assert_eq!(got, text.as_bytes());
}

async fn stays_away(stream: &mut TcpStream) {
    let mut byte = [0];
    assert!(timeout(QUIET, stream.read(&mut byte)).await.is_err(), "something came");
}

#[tokio::test]
async fn what_is_sent_arrives_and_an_end_too() {
    let mut line = Line::new().await;
    line.client.write_all(b"there").await.unwrap();
    arrives(&mut line.server, "there").await;
    line.server.write_all(b"back").await.unwrap();
    line.server.shutdown().await.unwrap();
    let mut rest = String::new();
    timeout(PATIENCE, line.client.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!(rest, "back");
}

#[tokio::test]
async fn a_silent_line_keeps_back_one_way_until_it_is_mended() {
    let mut line = Line::new().await;
    line.proxy.set(Passage::Silent { to_target: true, from_target: false });
    line.client.write_all(b"held").await.unwrap();
    line.server.write_all(b"free").await.unwrap();
    arrives(&mut line.client, "free").await;
    stays_away(&mut line.server).await;
    line.proxy.mend();
    arrives(&mut line.server, "held").await;
}

#[tokio::test]
async fn a_late_line_passes_on_after_its_delay() {
    let mut line = Line::new().await;
    line.proxy.set(Passage::Late(QUIET));
    let begun = Instant::now();
    line.client.write_all(b"late").await.unwrap();
    arrives(&mut line.server, "late").await;
    assert!(begun.elapsed() >= QUIET);
}

#[tokio::test]
async fn a_cut_line_ends_connections_and_a_mended_one_takes_new_ones() {
    let mut line = Line::new().await;
    line.proxy.cut();
    let mut rest = Vec::new();
    timeout(PATIENCE, line.client.read_to_end(&mut rest)).await.unwrap().unwrap();
    let mut refused = TcpStream::connect(line.proxy.address()).await.unwrap();
    let _ = timeout(PATIENCE, refused.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
    line.proxy.mend();
    let address = line.proxy.address();
    let again: JoinHandle<TcpStream> = tokio::spawn(async move {
        let mut again = TcpStream::connect(address).await.unwrap();
        again.write_all(b"again").await.unwrap();
        again
    });
    let (mut server, _) = timeout(PATIENCE, line.listener.accept()).await.unwrap().unwrap();
    arrives(&mut server, "again").await;
    drop(again.await.unwrap());
}
