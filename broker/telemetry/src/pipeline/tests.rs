#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod sink;

use std::time::Duration;

use tokio::net::TcpListener;

use self::sink::GrpcSink;
use crate::{Config, ConfigError, OtlpConfig, OtlpProtocol, SpanKind, SpanResult, Telemetry, TraceFilter, names};

const GENEROUS: Duration = Duration::from_secs(20);

fn config(endpoint: &str, protocol: OtlpProtocol) -> Config {
    // The binary does this in `main`; a second time is refused and means nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut otlp = OtlpConfig::new(endpoint, protocol);
    otlp.headers.insert("X-Token".into(), "t".into());
    Config { otlp: Some(otlp), ..Config::new("n1".parse().unwrap()) }
}

fn counts(telemetry: &Telemetry) -> [u64; 4] {
    use SpanResult::{DroppedQueue, Exported, Failed, LostAtShutdown};
    [Exported, Failed, DroppedQueue, LostAtShutdown].map(|result| telemetry.metrics().spans(result))
}

fn one_call(telemetry: &Telemetry) {
    let mut root = telemetry.tracer().start(SpanKind::Server, "tools/call x", None);
    root.set(names::SPANWIRE_WAIT_MS, 1.5);
    let mut child = telemetry.tracer().start(SpanKind::Client, "tools/call x", Some(&root.context()));
    child.fail_tool();
    child.link(&root.context());
    child.end();
    root.end();
}

/// An address that nobody listens on.
async fn dead_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn spans_arrive_over_grpc() {
    let mut sink = GrpcSink::start().await;
    let telemetry = Telemetry::start(config(&sink.endpoint, OtlpProtocol::Grpc)).unwrap();
    one_call(&telemetry);
    telemetry.shutdown(GENEROUS).await;
    let request = tokio::time::timeout(GENEROUS, sink.requests.recv()).await.unwrap().unwrap();
    sink::check_one_call(&request.message);
    assert_eq!(request.token.as_deref(), Some("t"));
    assert_eq!(counts(&telemetry), [2, 0, 0, 0]);
    assert!(telemetry.metrics().last_export_unix_seconds().is_some());
    assert_eq!(telemetry.ring().recent(10, &TraceFilter::default()).len(), 1);
    one_call(&telemetry);
    assert_eq!(counts(&telemetry), [2, 0, 0, 2], "what ends after the end is lost, and counted");
}

#[tokio::test]
async fn spans_arrive_over_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let served = tokio::spawn(sink::serve_one_http_request(listener));
    let telemetry = Telemetry::start(config(&endpoint, OtlpProtocol::HttpProtobuf)).unwrap();
    one_call(&telemetry);
    telemetry.shutdown(GENEROUS).await;
    let (head, message) = tokio::time::timeout(GENEROUS, served).await.unwrap().unwrap();
    assert!(head.starts_with("post /v1/traces http/1.1\r\n") && head.contains("\r\nx-token: t\r\n"), "{head}");
    sink::check_one_call(&message);
    assert_eq!(counts(&telemetry), [2, 0, 0, 0]);
}

#[tokio::test]
async fn a_full_batch_does_not_wait_for_the_end() {
    let mut sink = GrpcSink::start().await;
    let telemetry = Telemetry::start(config(&sink.endpoint, OtlpProtocol::Grpc)).unwrap();
    (0..super::BATCH).for_each(|_| telemetry.tracer().start(SpanKind::Internal, "x", None).end());
    tokio::time::timeout(GENEROUS, sink.requests.recv()).await.unwrap().unwrap();
    telemetry.shutdown(GENEROUS).await;
    assert_eq!(counts(&telemetry), [super::BATCH as u64, 0, 0, 0]);
}

#[tokio::test]
async fn a_dead_collector_delays_no_call_and_every_span_is_accounted_for() {
    for protocol in [OtlpProtocol::Grpc, OtlpProtocol::HttpProtobuf] {
        let mut config = config(&dead_endpoint().await, protocol);
        config.queue_spans = 600;
        let telemetry = Telemetry::start(config).unwrap();
        let began = std::time::Instant::now();
        for round in 0..10 {
            (0..500).for_each(|_| telemetry.tracer().start(SpanKind::Server, "x", None).end());
            if round % 2 == 0 {
                tokio::task::yield_now().await;
            }
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        telemetry.shutdown(GENEROUS).await;
        let [exported, failed, dropped, lost] = counts(&telemetry);
        assert_eq!(exported, 0);
        assert!(failed > 0 && dropped > 0, "{failed} {dropped} {lost}");
        assert_eq!(failed + dropped + lost, 5000);
        assert!(telemetry.metrics().encode_openmetrics().contains("spanwire_telemetry_queue_spans 0\n"));
    }
}

#[tokio::test]
async fn a_silent_collector_cannot_hold_up_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let telemetry = Telemetry::start(config(&endpoint, OtlpProtocol::Grpc)).unwrap();
    (0..700).for_each(|_| telemetry.tracer().start(SpanKind::Server, "x", None).end());
    // A connection means that the first batch is on its way.
    let _silent = tokio::time::timeout(GENEROUS, listener.accept()).await.unwrap().unwrap();
    let began = std::time::Instant::now();
    telemetry.shutdown(Duration::from_millis(100)).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(counts(&telemetry), [0, 0, 0, 700]);
    assert_eq!(telemetry.ring().recent(1000, &TraceFilter::default()).len(), Config::RING_TRACES);
}

#[tokio::test]
async fn without_a_collector_spans_reach_the_ring_and_followers() {
    let telemetry = Telemetry::start(Config::new("n1".parse().unwrap())).unwrap();
    let mut follower = telemetry.ring().follow();
    one_call(&telemetry);
    let summary = tokio::time::timeout(GENEROUS, follower.recv()).await.unwrap().unwrap();
    assert_eq!((summary.name.as_str(), summary.spans, summary.nodes), ("tools/call x", 2, vec!["n1".to_owned()]));
    assert_eq!(summary.error.as_deref(), Some("tool returned an error"));
    telemetry.shutdown(GENEROUS).await;
    telemetry.shutdown(GENEROUS).await;
    assert_eq!(counts(&telemetry), [0; 4]);
}

#[tokio::test]
async fn what_cannot_work_is_said_at_once() {
    let check = |endpoint: &str| Telemetry::start(config(endpoint, OtlpProtocol::Grpc)).map(drop);
    for bad in ["", "localhost:4317", "ftp://x", "http://"] {
        assert!(matches!(check(bad), Err(ConfigError::Endpoint(_))), "{bad}");
    }
    let mut bad = config("http://127.0.0.1:1", OtlpProtocol::HttpProtobuf);
    bad.otlp.as_mut().unwrap().headers.insert("a b".into(), "secret".into());
    let error = Telemetry::start(bad).unwrap_err();
    assert!(matches!(error, ConfigError::Header(_)) && !error.to_string().contains("secret"));
}

#[test]
fn a_runtime_is_needed_but_not_for_disabled_telemetry() {
    assert!(matches!(Telemetry::start(Config::new("n1".parse().unwrap())), Err(ConfigError::NoRuntime)));
    let telemetry = Telemetry::disabled("n1".parse().unwrap());
    one_call(&telemetry);
    let traces = telemetry.ring().recent(10, &TraceFilter::default());
    assert_eq!((traces.len(), traces[0].spans, traces[0].nodes.len()), (1, 2, 1));
}
