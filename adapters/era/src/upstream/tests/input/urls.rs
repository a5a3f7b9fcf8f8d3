//! URL elicitations: when they are complete, and as an error that means "call again".

use super::*;

const URL: &str = r#"{"mode":"url","message":"go","url":"https://a","elicitationId":"e1"}"#;

async fn completed(peer: &Peer, id: &str) {
    peer.server.notify(Method::ElicitationComplete, &format!(r#"{{"elicitationId":"{id}"}}"#)).await;
    peer.settled().await;
}

fn methods(events: &[Event]) -> Vec<Method> {
    let method = |event: &Event| match event {
        Event::Progress(one) | Event::Notification(one) => one.method.clone(),
        Event::Done(_) => panic!("done"),
    };
    events.iter().map(method).collect()
}

#[tokio::test]
async fn a_complete_elicitation_is_told_to_the_call_that_was_given_it() {
    for on_stream in BOTH {
        let peer = Peer::new(|_| {}).await;
        let (running, id) = peer.start("book", ALL).await;
        peer.ask("q1", Method::ElicitationCreate, URL, on_stream.then_some(id)).await;
        let asked = running.asked().await;
        assert_eq!(asked.events.len(), 0);
        let (other, other_id) = peer.start("other", ALL).await;
        // Parked.
        completed(&peer, "e1").await;
        completed(&peer, "e1").await;
        completed(&peer, "unknown").await;
        let retry = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT]));
        peer.server.saw(r#""id":"q1","result""#).await;
        // Running, on its own stream.
        peer.ask("q2", Method::ElicitationCreate, &URL.replace("e1", "e2"), Some(id)).await;
        let asked = retry.asked().await;
        assert_eq!(methods(&asked.events), [Method::ElicitationComplete], "once");
        let retry = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT]));
        peer.server.saw(r#""id":"q2","result""#).await;
        for told in ["e2", "e2", "unknown"] {
            let params = Some(json(&format!(r#"{{"elicitationId":"{told}"}}"#)));
            peer.server.calls.push(id, Notification { method: Method::ElicitationComplete, params });
        }
        peer.finish(id, RESULT);
        assert_eq!(methods(&retry.done().await.0), [Method::ElicitationComplete]);
        peer.finish(other_id, RESULT);
        assert_eq!(methods(&other.done().await.0), []);
        // Over.
        completed(&peer, "e1").await;
        peer.idle().await;
    }
}

fn required(data: &str) -> Outcome {
    let error = ErrorObject { code: -32042, message: "more first".into(), data: Some(json(data)) };
    Err(Error::from_server(error))
}

async fn refused_first(data: &str) -> (Peer, Running) {
    let peer = Peer::new(|_| {}).await;
    let (running, id) = peer.start("book", ALL).await;
    assert!(peer.server.calls.finish(id, required(data)));
    (peer, running)
}

const TWO: &str = r#"{"elicitations":[{"mode":"url","message":"go","url":"https://a","elicitationId":"e1"},{"message":"there","url":"https://b","elicitationId":"e2"}]}"#;

#[tokio::test]
async fn the_error_that_requires_a_visit_means_call_again() {
    let (peer, running) = refused_first(TWO).await;
    let asked = running.asked().await;
    let told: Vec<_> = asked.asked.requests.iter().map(|one| one.params.as_ref().unwrap().as_str()).collect();
    let second = r#"{"message":"there","url":"https://b","elicitationId":"e2","mode":"url"}"#;
    assert_eq!(told, [URL, second]);
    assert_eq!(peer.sizes(), (0, 0, 1));
    for wrong in ["[]", r#"{"input-1":7}"#] {
        let error = peer.retry("book", asked.state(), wrong).error().await;
        assert_eq!(error.kind, ErrorKind::InvalidParams);
    }
    assert_eq!(peer.retry("other", asked.state(), "{}").error().await.kind, ErrorKind::InvalidParams);

    let agreed = r#"{"action":"accept"}"#;
    let retry = peer.retry("book", asked.state(), &asked.answers(&[agreed, agreed]));
    let again = async {
        while peer.server.count("tools/call") < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, again).await.unwrap();
    assert_eq!(peer.server.count(r#"tools/call {"name":"book"}"#), 2, "neither state nor answers reach the server");
    completed(&peer, "e2").await;
    peer.finish(peer.server.id_of("book").await, RESULT);
    let (events, outcome) = retry.done().await;
    assert_eq!(methods(&events), [Method::ElicitationComplete]);
    assert_eq!(outcome.unwrap().as_str(), COMPLETE);
    let error = peer.retry("book", asked.state(), "{}").error().await;
    assert_eq!(error.kind, ErrorKind::InvalidParams, "a state is good once");
    peer.idle().await;
}

#[tokio::test]
async fn who_does_not_agree_gets_the_error() {
    let (peer, running) = refused_first(TWO).await;
    let asked = running.asked().await;
    let answers = asked.answers(&[r#"{"action":"accept"}"#, r#"{"action":"decline"}"#]);
    let error = peer.retry("book", asked.state(), &answers).error().await;
    assert_eq!((error.kind, error.code), (ErrorKind::Server, Some(-32042)));
    assert_eq!(peer.server.count("tools/call"), 1);
    peer.idle().await;
}

#[tokio::test]
async fn an_error_that_cannot_be_asked_passes_as_it_is() {
    for data in ["{}", r#"{"elicitations":[]}"#, r#"{"elicitations":[{"url":"https://a"}]}"#, r#"{"elicitations":7}"#] {
        let (_peer, running) = refused_first(data).await;
        let error = running.error().await;
        assert_eq!((error.code, error.data.unwrap().as_str()), (Some(-32042), data));
    }
    let peer = Peer::new(|_| {}).await;
    let (running, id) = peer.start("book", r#"{"elicitation":{}}"#).await;
    assert!(peer.server.calls.finish(id, required(TWO)));
    assert_eq!(running.error().await.code, Some(-32042));
    peer.idle().await;
}

#[tokio::test]
async fn a_call_that_is_to_be_made_again_is_forgotten_in_time() {
    let peer = Peer::new(|waits| waits.parked = Duration::ZERO).await;
    let (running, id) = peer.start("book", ALL).await;
    assert!(peer.server.calls.finish(id, required(TWO)));
    let asked = running.asked().await;
    assert_eq!(peer.retry("book", asked.state(), "{}").error().await.kind, ErrorKind::InvalidParams);
}
