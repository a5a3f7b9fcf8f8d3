//! Right and wrong retries, and retries that never come.

use super::*;

#[tokio::test]
async fn what_was_not_answered_is_asked_again() {
    for on_stream in BOTH {
        let peer = Peer::new(|waits| waits.gather = Duration::from_millis(100)).await;
        let (running, id) = peer.start("book", ALL).await;
        for question in ["q1", "q2"] {
            peer.elicit(question, on_stream.then_some(id)).await;
        }
        let first = running.asked().await;
        assert_eq!(first.asked.requests.len(), 2);
        let answers = format!(r#"{{"input-2":{ACCEPT},"input-7":{ACCEPT},"stray":7}}"#);
        let second = peer.retry("book", first.state(), &answers).asked().await;
        peer.server.saw(r#""id":"q2","result""#).await;
        assert_eq!((second.asked.requests.len(), second.key(0)), (1, "input-1"));
        assert_ne!(first.state(), second.state());
        let last = peer.retry("book", second.state(), &second.answers(&[ACCEPT]));
        peer.server.saw(r#""id":"q1","result""#).await;
        peer.finish(id, RESULT);
        last.outcome().await.unwrap();
        peer.idle().await;
    }
}

#[tokio::test]
async fn an_answer_of_a_wrong_shape_leaves_the_call_parked() {
    let peer = Peer::new(|_| {}).await;
    let (asked, id) = peer.parked("book", "q1", true).await;
    for wrong in [r#"{"input-1":"yes"}"#, r#"{"input-1":null}"#, "[]", "7"] {
        let error = peer.retry("book", asked.state(), wrong).error().await;
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{wrong}: {error}");
        assert!(error.public.contains("is no object"), "{error}");
    }
    assert_eq!(peer.server.count(r#""id":"q1""#), 0);
    let retry = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT]));
    peer.server.saw(r#""id":"q1","result""#).await;
    peer.finish(id, RESULT);
    retry.outcome().await.unwrap();
}

#[tokio::test]
async fn a_state_is_good_once_and_for_its_own_request() {
    let peer = Peer::new(|_| {}).await;
    let (asked, id) = peer.parked("book", "q1", true).await;
    let (other, _) = peer.parked("other", "o1", true).await;
    let forged = uuid::Uuid::new_v4().to_string();
    for (name, state) in [("book", forged.as_str()), ("book", "7"), ("book", ""), ("book", other.state())] {
        let error = peer.retry(name, state, "{}").error().await;
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{state}");
        assert!(error.public.contains("requestState is not known"), "{error}");
    }
    let retry = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT]));
    peer.server.saw(r#""id":"q1","result""#).await;
    let error = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT])).error().await;
    assert_eq!(error.kind, ErrorKind::InvalidParams, "used");
    peer.finish(id, RESULT);
    retry.outcome().await.unwrap();
    assert_eq!(peer.server.count("tools/call"), 2, "no wrong retry reached the server");
}

#[tokio::test]
async fn an_error_of_a_legacy_client_is_an_error_for_the_server() {
    for on_stream in BOTH {
        let peer = Peer::new(|_| {}).await;
        let (asked, id) = peer.parked("book", "q1", on_stream).await;
        let error = spanwire_mcp::ErrorObject { code: -1, message: "not now".into(), data: Some(json("[1]")) };
        let answer = spanwire_mcp::input::error_response(&error);
        let retry = peer.retry("book", asked.state(), &asked.answers(&[answer.as_str()]));
        peer.server.saw(r#""id":"q1","error":{"code":-1,"message":"not now","data":[1]}"#).await;
        peer.finish(id, RESULT);
        retry.outcome().await.unwrap();
    }
}

#[tokio::test]
async fn leaving_cancels_the_call_before_and_after_it_was_parked() {
    for on_stream in BOTH {
        let peer = Peer::new(|waits| waits.gather = LONG).await;
        let (running, id) = peer.start("book", ALL).await;
        peer.elicit("q1", on_stream.then_some(id)).await;
        peer.settled().await;
        running.cancel().await;
        peer.server.saw("-tools/call").await;
        peer.server.saw(r#""id":"q1","error""#).await;
        peer.idle().await;

        let peer = Peer::new(|_| {}).await;
        let (asked, _) = peer.parked("book", "q1", on_stream).await;
        let retry = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT]));
        peer.server.saw(r#""id":"q1","result""#).await;
        retry.cancel().await;
        peer.server.saw("-tools/call").await;
        peer.idle().await;
    }
}

#[tokio::test]
async fn a_retry_that_never_comes_is_not_waited_for_for_ever() {
    for on_stream in BOTH {
        let peer = Peer::new(|waits| waits.parked = Duration::from_millis(50)).await;
        let (asked, _) = peer.parked("book", "q1", on_stream).await;
        peer.server.saw("-tools/call").await;
        peer.server.saw(r#""id":"q1","error""#).await;
        peer.idle().await;
        let error = peer.retry("book", asked.state(), "{}").error().await;
        assert_eq!(error.kind, ErrorKind::InvalidParams);
        assert!(error.public.contains("expired"), "{error}");
    }
    // Also when the server has answered meanwhile.
    let peer = Peer::new(|waits| waits.parked = Duration::from_millis(50)).await;
    let (_, id) = peer.parked("book", "q1", true).await;
    let _ = peer.server.calls.finish(id, Ok(json(RESULT)));
    peer.idle().await;
}

#[tokio::test]
async fn a_lost_connection_ends_what_is_parked() {
    for on_stream in BOTH {
        let peer = Peer::new(|_| {}).await;
        let (asked, _) = peer.parked("book", "q1", on_stream).await;
        let (resumed, _) = peer.parked("other", "o1", true).await;
        let resumed = peer.retry("other", resumed.state(), &resumed.answers(&[ACCEPT]));
        peer.server.saw(r#""id":"o1","result""#).await;
        let reason: Arc<str> = "server \"fake\" exited".into();
        peer.server.calls.close(&reason);
        peer.server.unasked().send(Unasked::Closed(reason)).await.unwrap();
        for running in [resumed, peer.retry("book", asked.state(), "{}")] {
            let error = running.error().await;
            assert_eq!(error.kind, ErrorKind::StreamLost, "{error}");
            assert!(error.public.contains("exited during tools/call"), "{error}");
        }
        peer.idle().await;
    }
}

#[tokio::test]
async fn a_stopped_connection_leaves_nothing() {
    let peer = Peer::new(|_| {}).await;
    let (_, _) = peer.parked("book", "q1", true).await;
    let (_, _) = peer.parked("other", "q2", true).await;
    let desk = peer.server.desk.lock().unwrap().clone().unwrap();
    assert_eq!(desk.sizes(), (2, 2, 0));
    drop(peer.connected);
    let freed = async {
        while desk.sizes() != (0, 0, 0) || !peer.server.calls.is_empty() || Arc::strong_count(&desk) > 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, freed).await.expect("something is left");
}
