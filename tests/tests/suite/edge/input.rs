//! What a server asks in mid-call, as requests to a legacy client on the stream of its own request.

use super::{
    legacy::{Old, request},
    *,
};

fn roots() -> Value {
    json!({"method": "roots/list"})
}

fn form(message: &str) -> Value {
    json!({"method": "elicitation/create", "params": {
        "mode": "form", "message": message, "requestedSchema": {"type": "object", "properties": {}}}})
}

fn everything() -> Value {
    json!({"roots": {"listChanged": true}, "elicitation": {"form": {}, "url": {}}, "sampling": {}})
}

/// A call that asks these rounds.
fn asks(id: i64, rounds: Value) -> Value {
    request(id, "tools/call", json!({"name": "asks", "arguments": {"rounds": rounds}}))
}

fn error_of(answer: &Value) -> (i64, String) {
    (answer["error"]["code"].as_i64().unwrap(), answer["error"]["message"].as_str().unwrap().to_owned())
}

/// What the server is told in place of answers, after so many calls of `asks`.
async fn told_the_server(node: &Node, calls: usize) -> Value {
    for _ in 0..=calls {
        assert_eq!(node.double.dropped().await, "asks");
    }
    node.double.last().params.to_value()["inputResponses"].take()
}

#[tokio::test]
async fn a_question_goes_out_on_the_requests_own_stream_and_its_answer_comes_back() {
    let node = node().await;
    for revision in ["2025-11-25", "2025-06-18", "2025-03-26"] {
        let old = Old::open_with(&node, revision, everything()).await;
        let mut events = Events::open(old.post(&asks(1, json!([{"who": form("?")}])))).await;
        let asked = events.message().await.unwrap();
        let mut params = form("?")["params"].clone();
        if revision != "2025-11-25" {
            params.as_object_mut().unwrap().remove("mode");
        }
        assert_eq!(
            asked,
            json!({"jsonrpc": "2.0", "id": asked["id"], "method": "elicitation/create", "params": params}),
            "{revision}"
        );
        let answer = json!({"action": "accept", "content": {"name": "ann"}});
        old.answer(&asked["id"], answer.clone()).await;
        let last = events.message().await.unwrap();
        assert_eq!((&last["id"], last["result"].get("resultType")), (&json!(1), None));
        let second = &last["result"]["structuredContent"];
        assert_eq!(second["inputResponses"], json!({"who": answer}));
        assert_eq!(second["requestState"], "round \"1");
        assert_eq!(second["arguments"], json!({"rounds": [{"who": form("?")}]}));
        assert_eq!(events.message().await, None);
        old.delete().await;
    }
}

#[tokio::test]
async fn several_questions_and_several_rounds() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-11-25", everything()).await;
    let sampling = json!({"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}});
    let rounds = json!([{"a": roots(), "b": sampling}, {"c": roots()}]);
    let mut body = asks(1, rounds);
    body["params"]["_meta"] = json!({"progressToken": "mine"});
    let mut events = Events::open(old.post(&body)).await;
    let progress = events.message().await.unwrap();
    assert_eq!(progress["params"], json!({"progressToken": "mine", "progress": 1}));
    let (first, second) = (events.message().await.unwrap(), events.message().await.unwrap());
    assert_eq!((&first["method"], first.get("params")), (&json!("roots/list"), None));
    assert_eq!(second["params"], json!({"messages": [], "maxTokens": 1}));
    // Both are out before either is answered, and the last one is answered first.
    old.answer(&second["id"], json!({"role": "assistant"})).await;
    let refused = json!({"jsonrpc": "2.0", "id": first["id"], "error": {"code": -32601, "message": "no roots"}});
    assert_eq!(ask(old.post(&refused)).await.0, 202);
    let third = events.message().await.unwrap();
    assert_eq!(third["method"], "roots/list");
    let dispatched = node.double.last().params.to_value();
    assert_eq!(
        dispatched["inputResponses"],
        json!({"a": {"_meta": {"io.spanwire/error": {"code": -32601, "message": "no roots"}}}, "b": {"role": "assistant"}})
    );
    // An answer that has been given, and one to nothing, change nothing.
    old.answer(&second["id"], json!({"role": "user"})).await;
    old.answer(&json!("nobody"), json!({})).await;
    old.answer(&third["id"], json!({"roots": []})).await;
    // The progress of the further rounds does not grow: the client has seen it.
    let last = events.message().await.unwrap();
    let end = &last["result"]["structuredContent"];
    assert_eq!(end["inputResponses"], json!({"c": {"roots": []}}));
    assert_eq!((&end["requestState"], &end["_meta"]["progressToken"]), (&json!("round \"2"), &json!("mine")));
    let ids = [&first["id"], &second["id"], &third["id"]];
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    let calls: Vec<_> =
        node.double.calls.lock().unwrap().iter().filter(|call| call.method.as_str() == "tools/call").cloned().collect();
    assert_eq!(calls.len(), 3);
    assert!(calls[0].id != calls[1].id && calls[0].deadline < calls[1].deadline, "each dispatch is a call of its own");
}

#[tokio::test]
async fn a_url_has_an_id_and_a_server_without_a_state_gets_none() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-11-25", everything()).await;
    let url =
        json!({"method": "elicitation/create", "params": {"mode": "url", "url": "https://a.example/", "message": "?"}});
    let mut body = asks(1, json!([{"u": url}]));
    body["params"]["arguments"]["stateless"] = json!(true);
    let mut events = Events::open(old.post(&body)).await;
    let asked = events.message().await.unwrap();
    assert_eq!(asked["params"]["elicitationId"], asked["id"]);
    assert_eq!(asked["params"]["url"], "https://a.example/");
    old.answer(&asked["id"], json!({"action": "accept"})).await;
    let last = events.message().await.unwrap();
    let end = &last["result"]["structuredContent"];
    assert_eq!((&end["inputResponses"], end.get("requestState")), (&json!({"u": {"action": "accept"}}), None));
}

#[tokio::test]
async fn a_state_alone_is_tried_again_unseen() {
    let node = node().await;
    let old = Old::open(&node, "2025-11-25").await;
    let (status, body) = ask(old.post(&asks(1, json!([{}, {}])))).await;
    let end = &body["result"]["structuredContent"];
    assert_eq!((status, &end["requestState"], end.get("inputResponses")), (200, &json!("round \"2"), None));
}

#[tokio::test]
async fn what_the_client_did_not_declare_ends_the_call() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-06-18", json!({"elicitation": {}})).await;
    let (status, body) = ask(old.post(&asks(1, json!([{"a": form("?"), "b": roots()}])))).await;
    let (code, text) = error_of(&body);
    assert_eq!((status, code), (200, -32603));
    assert!(text.contains("roots/list") && text.contains("did not declare"), "{text}");
    // A server that waits in its call hears so, and is not given an answer.
    let refused = told_the_server(&node, 1).await;
    for key in ["a", "b"] {
        assert!(refused[key]["_meta"]["io.spanwire/error"]["message"].as_str().unwrap().contains("did not declare"));
    }
}

#[tokio::test]
async fn cancelling_takes_the_questions_back() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-11-25", everything()).await;
    let mut body = asks(7, json!([{"a": roots(), "b": roots()}]));
    body["params"]["arguments"]["hangs"] = json!(true);
    let mut events = Events::open(old.post(&body)).await;
    let (first, second) = (events.message().await.unwrap(), events.message().await.unwrap());
    old.answer(&first["id"], json!({"roots": []})).await;
    assert_eq!(node.double.dropped().await, "asks");
    assert_eq!(old.cancel(7).await, 202);
    let told = events.message().await.unwrap();
    assert_eq!(
        told,
        json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
            "params": {"requestId": second["id"], "reason": "the request was cancelled"}})
    );
    // The server hears that there is no answer, and then that nobody wants the call.
    assert_eq!(node.double.dropped().await, "hangs");
    let told = node.double.last().params.to_value();
    assert_eq!(told["inputResponses"]["a"], json!({"roots": []}));
    assert_eq!(told["inputResponses"]["b"]["_meta"]["io.spanwire/error"]["message"], "the request was cancelled");
    assert_eq!(events.message().await, None);
    old.answer(&second["id"], json!({"roots": []})).await;
    assert_eq!(ask(old.post(&request(7, "ping", json!({})))).await.0, 200, "the id is free");
}

/// A session of 2024-11-05 over POST has no stream to come back to.
#[tokio::test]
async fn a_client_that_goes_away_is_not_waited_for() {
    let node = node().await;
    let old = Old::open_with(&node, "2024-11-05", everything()).await;
    let mut events = Events::open(old.post(&asks(1, json!([{"a": roots(), "b": roots()}])))).await;
    let first = events.message().await.unwrap();
    events.message().await.unwrap();
    old.answer(&first["id"], json!({"roots": []})).await;
    drop(events);
    let told = told_the_server(&node, 1).await;
    assert_eq!(told["a"], json!({"roots": []}), "what the client did say");
    assert_eq!(told["b"]["_meta"]["io.spanwire/error"]["message"], "the request has ended");
}

#[tokio::test]
async fn a_client_that_answers_and_cancels_at_once_has_cancelled() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-03-26", everything()).await;
    let mut events = Events::open(old.post(&asks(7, json!([{"a": roots()}])))).await;
    let asked = events.message().await.unwrap();
    let batch = json!([
        {"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}},
    ]);
    assert_eq!(ask(old.post(&batch)).await.0, 202);
    let told = told_the_server(&node, 1).await;
    assert_eq!(told["a"]["_meta"]["io.spanwire/error"]["message"], "the request was cancelled");
    assert_eq!(events.message().await, None);
}

#[tokio::test]
async fn a_server_that_asks_for_ever_is_told_that_it_is_enough() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-11-25", everything()).await;
    let mut events = Events::open(old.post(&asks(1, vec![json!({"a": roots()}); 65].into()))).await;
    for round in 1..=64 {
        let asked = events.message().await.unwrap();
        assert_eq!(asked["method"], "roots/list", "round {round}");
        assert_eq!(node.double.dropped().await, "asks");
        old.answer(&asked["id"], json!({"roots": []})).await;
    }
    let (code, text) = error_of(&events.message().await.unwrap());
    assert!(code == 50200 && text.contains("more than 64 times"), "{code} {text}");
    let told = told_the_server(&node, 1).await;
    assert_eq!(told["a"]["_meta"]["io.spanwire/error"]["message"], text);
    assert_eq!(node.double.last().params.to_value()["requestState"], "round \"65");
}

#[tokio::test]
async fn the_end_of_the_session_takes_the_questions_back() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-11-25", everything()).await;
    let mut events = Events::open(old.post(&asks(1, json!([{"a": roots()}])))).await;
    let asked = events.message().await.unwrap();
    old.delete().await;
    let told = events.message().await.unwrap();
    assert_eq!((&told["method"], &told["params"]["requestId"]), (&json!("notifications/cancelled"), &asked["id"]));
    assert_eq!(events.message().await, None);
}

#[tokio::test]
async fn a_client_that_never_answers_ends_the_call() {
    let node = node_with(|config, _| config.input_timeout = Duration::from_millis(50)).await;
    let old = Old::open_with(&node, "2025-06-18", everything()).await;
    let mut events = Events::open(old.post(&asks(1, json!([{"a": roots()}])))).await;
    let asked = events.message().await.unwrap();
    let told = events.message().await.unwrap();
    assert_eq!((&told["method"], &told["params"]["requestId"]), (&json!("notifications/cancelled"), &asked["id"]));
    let (code, text) = error_of(&events.message().await.unwrap());
    assert_eq!(code, 50400);
    assert!(text.contains("did not answer in time"), "{text}");
}

#[tokio::test]
async fn waiting_for_the_client_is_not_in_the_budget_of_the_call() {
    let node = node_with(|config, _| config.default_call_timeout = Duration::from_secs(3)).await;
    let old = Old::open_with(&node, "2025-11-25", everything()).await;
    let mut events = Events::open(old.post(&asks(1, json!([{"a": roots()}])))).await;
    let asked = events.message().await.unwrap();
    let before = node.double.last().deadline;
    old.answer(&asked["id"], json!({"roots": []})).await;
    assert!(events.message().await.unwrap().get("result").is_some());
    assert!(node.double.last().deadline > before, "the budget starts anew");
}

#[tokio::test]
async fn questions_to_one_client_are_bounded() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-11-25", everything()).await;
    let many: serde_json::Map<String, Value> = (0..32).map(|key| (key.to_string(), roots())).collect();
    let mut first = Events::open(old.post(&asks(1, json!([many])))).await;
    for _ in 0..32 {
        assert_eq!(first.message().await.unwrap()["method"], "roots/list");
    }
    let (_, body) = ask(old.post(&asks(2, json!([{"one": roots()}])))).await;
    let (code, text) = error_of(&body);
    assert_eq!(code, 42900);
    assert!(text.contains("32"), "{text}");
    let refused = told_the_server(&node, 2).await;
    assert!(refused["one"]["_meta"]["io.spanwire/error"]["message"].as_str().unwrap().contains("32"), "{refused}");
    // They are given back.
    assert_eq!(old.cancel(1).await, 202);
    while first.message().await.is_some() {}
    let mut second = Events::open(old.post(&asks(3, json!([{"one": roots()}])))).await;
    assert_eq!(second.message().await.unwrap()["method"], "roots/list");
}

#[tokio::test]
async fn a_batch_asks_on_its_own_stream() {
    let node = node().await;
    let old = Old::open_with(&node, "2025-03-26", json!({"roots": {}})).await;
    let batch =
        json!([request(1, "ping", json!({})), asks(2, json!([{"a": roots()}])), asks(3, json!([{"b": roots()}]))]);
    let mut events = Events::open(old.post(&batch)).await;
    let mut answers = Vec::new();
    while let Some(message) = events.message().await {
        if message["method"] == "roots/list" {
            // Answers come in a batch as well.
            let response = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"roots": []}});
            assert_eq!(ask(old.post(&json!([response]))).await.0, 202);
        } else {
            answers.push(message["id"].as_i64().unwrap());
        }
    }
    answers.sort_unstable();
    assert_eq!(answers, [1, 2, 3]);
}

#[tokio::test]
async fn sessions_do_not_answer_for_each_other() {
    let node = node().await;
    let (ann, bob) = (
        Old::open_with(&node, "2025-11-25", everything()).await,
        Old::open_with(&node, "2025-11-25", everything()).await,
    );
    let mut of_ann = Events::open(ann.post(&asks(1, json!([{"a": form("ann?")}])))).await;
    let mut of_bob = Events::open(bob.post(&asks(1, json!([{"a": form("bob?")}])))).await;
    let (to_ann, to_bob) = (of_ann.message().await.unwrap(), of_bob.message().await.unwrap());
    assert_ne!(to_ann["id"], to_bob["id"]);
    bob.answer(&to_ann["id"], json!({"action": "accept", "content": {"of": "bob"}})).await;
    bob.answer(&to_bob["id"], json!({"action": "decline"})).await;
    assert_eq!(
        of_bob.message().await.unwrap()["result"]["structuredContent"]["inputResponses"]["a"]["action"],
        "decline"
    );
    ann.answer(&to_ann["id"], json!({"action": "cancel"})).await;
    assert_eq!(
        of_ann.message().await.unwrap()["result"]["structuredContent"]["inputResponses"]["a"]["action"],
        "cancel"
    );
}
