use spanwire_model::Principal;
use spanwire_rpc::v1::{self, call_event::Event as Told};
use tonic::Code;

use super::*;

fn call(name: &str) -> v1::CallRequest {
    v1::CallRequest { name: name.into(), arguments_json: r#"{"x":1}"#.into(), ..Default::default() }
}

async fn next(events: &mut tonic::Streaming<v1::CallEvent>) -> Told {
    first(events).await.event.unwrap()
}

#[tokio::test]
async fn a_call_tells_its_progress_and_then_its_result() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    let response = client.call(v1::CallRequest { view: "team".into(), ..call("steps") }).await.unwrap();
    let id = response.metadata().get(spanwire_rpc::CALL_ID_METADATA).unwrap().to_str().unwrap().to_owned();
    let mut events = response.into_inner();

    let progress = |at: u32| Told::ProgressJson(format!(r#"{{"progressToken":"{id}","progress":{at}}}"#).into());
    assert_eq!(next(&mut events).await, progress(1));
    let Told::NotificationJson(log) = next(&mut events).await else { panic!("no notification") };
    assert!(log.starts_with(br#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level""#));
    assert_eq!(next(&mut events).await, progress(2));
    assert_eq!(next(&mut events).await, Told::ResultJson(r#"{"content":[],"resultType":"complete"}"#.into()));
    assert!(events.next().await.is_none());

    let call = node.control.dispatch.calls.lock().unwrap()[0].clone();
    assert_eq!((call.id.to_string(), call.principal), (id, Principal::new(Principal::OPERATOR)));
    assert_eq!(call.view.as_deref(), Some("team"));
    assert_eq!(call.params.get("arguments"), Some(Json::from_trusted(r#"{"x":1}"#)));
    node.stop().await;
}

#[tokio::test]
async fn a_failed_call_is_an_event_and_a_bad_request_is_a_status() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    let mut events = client.call(call("nosuch")).await.unwrap().into_inner();
    let Told::Error(error) = next(&mut events).await else { panic!("no error") };
    assert_eq!((error.code, error.kind.as_str(), error.retry()), (-32602, "invalid_params", v1::Retry::Never));
    assert_eq!(error.message, "unknown tool \"nosuch\"");
    assert!(events.next().await.is_none());

    for request in [call(""), v1::CallRequest { view: "nosuch".into(), ..call("steps") }] {
        let refused = client.call(request).await.unwrap_err();
        assert_eq!((refused.code(), kind(&refused)), (Code::InvalidArgument, "invalid_params"));
    }
    node.stop().await;
}

#[tokio::test]
async fn dropping_the_stream_cancels_the_call() {
    let mut node = Node::start(None).await;
    let mut client = node.client().await;
    let mut events = client.call(call("hangs")).await.unwrap().into_inner();
    assert!(matches!(next(&mut events).await, Told::ProgressJson(_)));
    assert!(node.dropped.try_recv().is_err());
    drop(events);
    assert_eq!(soon("the cancellation", node.dropped.recv()).await.as_deref(), Some("hangs"));
    node.stop().await;
}

#[tokio::test]
async fn large_results_pass_both_ways() {
    let node = Node::start(None).await;
    let mut client = node.client().await.max_encoding_message_size(MAX_MESSAGE_BYTES);
    let mut events = client.call(call("large")).await.unwrap().into_inner();
    let Told::ResultJson(result) = next(&mut events).await else { panic!("no result") };
    assert!(result.len() > 20 << 20);

    let arguments = format!(r#"{{"x":"{}"}}"#, "y".repeat(15 << 20));
    let mut events = client.call(v1::CallRequest { arguments_json: arguments.into(), ..call("steps") }).await.unwrap();
    assert!(matches!(next(events.get_mut()).await, Told::ProgressJson(_)));
    node.stop().await;
}
