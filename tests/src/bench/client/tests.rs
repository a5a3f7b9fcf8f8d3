#![allow(clippy::unwrap_used)]
use super::*;

fn answer_to(request: &[u8]) -> String {
    let request: serde_json::Value = serde_json::from_slice(request).unwrap();
    let text = &request["params"]["arguments"]["text"];
    format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[{{"type":"text","text":{text}}}]}}}}"#, request["id"])
}

#[test]
fn only_the_right_answer_passes() {
    for era in [Era::Modern, Era::Legacy] {
        let payload = Payload::new("echo", era, 64);
        let (id, request) = payload.request();
        let (_, other) = payload.request();
        let answer = answer_to(&request);
        payload.check(id, answer.as_bytes()).unwrap();
        payload.check(id, answer_to(&other).as_bytes()).unwrap_err();
        payload.check(id + 1, answer.as_bytes()).unwrap_err();
        payload.check(id, answer.replace("fox", "fax").as_bytes()).unwrap_err();
        payload.check(id, answer.replace("the", "").as_bytes()).unwrap_err();
        let error = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32603,"message":"no"}}}}"#);
        assert!(payload.check(id, error.as_bytes()).unwrap_err().to_string().contains("-32603"));
    }
}

#[test]
fn the_text_has_the_length_that_was_asked_for() {
    let (_, request) = Payload::new("echo", Era::Modern, 1024).request();
    let request: serde_json::Value = serde_json::from_slice(&request).unwrap();
    assert_eq!(request["params"]["arguments"]["text"].as_str().unwrap().len(), 1024);
    assert_eq!(request["params"]["_meta"][meta::PROTOCOL_VERSION], MODERN);
}

#[test]
fn the_response_is_found_in_an_event_stream() {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    let body = b": hi\n\nevent: message\ndata: {\"method\":\"x\"}\n\ndata: {\"id\":1}\r\n\r\n";
    assert_eq!(message(&headers, body).unwrap(), b" {\"id\":1}");
    assert_eq!(message(&HeaderMap::new(), b"{}").unwrap(), b"{}");
}
