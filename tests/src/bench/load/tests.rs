#![allow(clippy::unwrap_used)]
use spanwire_mcp::Era;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::bench::client::{self, Endpoint};

async fn endpoint(tool: &str) -> (Arc<Endpoint>, tokio_util::task::AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = tokio::spawn(async move { crate::rust_server::serve(listener).await.unwrap() });
    (Arc::new(Endpoint::new(&url, tool).unwrap()), tokio_util::task::AbortOnDropHandle::new(server))
}

#[tokio::test]
async fn both_loops_reach_the_fast_server_in_both_eras() {
    let (endpoint, _server) = endpoint("echo").await;
    for era in [Era::Modern, Era::Legacy] {
        let mut clients = client::connect_all(&endpoint, era, 4).await.unwrap();
        let payload = Payload::new("echo", era, 2048);
        let sample = closed(&mut clients, &payload, Duration::from_millis(50)).await.unwrap();
        assert_eq!((sample.first_error, clients.len()), (None, 4));
        assert_eq!(sample.latency.len(), sample.calls);
        assert!(sample.calls >= 4);

        let sample = open(&mut clients, &payload, 100, Duration::from_millis(100)).await.unwrap();
        assert_eq!((sample.first_error, sample.calls), (None, 10));
    }
}

#[tokio::test]
async fn a_wrong_answer_is_an_error_and_the_loop_ends() {
    let (endpoint, _server) = endpoint("sink").await;
    let mut clients = client::connect_all(&endpoint, Era::Legacy, 1).await.unwrap();
    let sample = closed(&mut clients, &Payload::new("sink", Era::Legacy, 64), Duration::from_secs(60)).await.unwrap();
    assert_eq!((sample.calls, sample.errors), (0, MAX_ERRORS_PER_WORKER));
    assert!(sample.first_error.unwrap().contains("echoes another text"));
}

/// A server that stalls once, for 300 ms: a closed loop of one client sees one slow call, an open loop sees that all the
/// calls that were due meanwhile waited too.
#[tokio::test]
async fn a_stall_counts_for_every_call_that_was_due_in_it() {
    const STALL: Duration = Duration::from_millis(300);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for number in 0.. {
            let mut bytes = vec![0; 64 * 1024];
            let length = stream.read(&mut bytes).await.unwrap();
            if length == 0 {
                break;
            }
            let text = String::from_utf8_lossy(&bytes[..length]);
            let request: serde_json::Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
            if number == 5 {
                tokio::time::sleep(STALL).await;
            }
            let answer = format!(
                r#"{{"id":{},"result":{{"content":[{{"text":{}}}]}}}}"#,
                request["id"], request["params"]["arguments"]["text"]
            );
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).await.unwrap();
        }
    });
    let endpoint = Arc::new(Endpoint::new(&url, "echo").unwrap());
    let mut clients = client::connect_all(&endpoint, Era::Modern, 1).await.unwrap();
    let payload = Payload::new("echo", Era::Modern, 32);
    let sample = open(&mut clients, &payload, 200, Duration::from_millis(500)).await.unwrap();
    assert_eq!((sample.first_error.as_deref(), sample.calls), (None, 100));
    let slow = sample.latency.count_between(50_000_000, LONGEST_LATENCY_NS);
    assert!(slow >= 30, "only {slow} calls show the stall");
    drop(clients);
    server.await.unwrap();
}
