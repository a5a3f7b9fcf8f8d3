//! A call that is asked, parked, and goes on.

use super::*;

#[tokio::test]
async fn a_question_ends_the_call_and_the_retry_goes_on_with_it() {
    for on_stream in BOTH {
        let peer = Peer::new(|_| {}).await;
        let (asked, id) = peer.parked("book", "q1", on_stream).await;
        let expected = format!(
            r#"{{"resultType":"input_required","inputRequests":{{"input-1":{{"method":"elicitation/create","params":{FORM}}}}},"requestState":"{}"}}"#,
            asked.state()
        );
        assert_eq!(asked.asked.to_result().as_str(), expected);
        assert_eq!(peer.sizes(), (1, 1, 0));
        assert_eq!(peer.server.count("-tools/call"), 0, "the call goes on at the server");

        let retry = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT]));
        peer.server.saw(&format!(r#"{{"jsonrpc":"2.0","id":"q1","result":{ACCEPT}}}"#)).await;
        peer.finish(id, RESULT);
        assert_eq!(retry.outcome().await.unwrap().as_str(), COMPLETE);
        peer.idle().await;
        assert_eq!(peer.server.count("tools/call"), 1, "the retry is no call of its own");
    }
}

#[tokio::test]
async fn every_method_that_takes_input_and_every_kind_of_question() {
    for (method, params) in [
        (Method::ToolsCall, r#"{"name":"a""#),
        (Method::PromptsGet, r#"{"name":"a""#),
        (Method::ResourcesRead, r#"{"uri":"f:///a""#),
    ] {
        let peer = Peer::new(|_| {}).await;
        let meta = format!(r#""_meta":{{"io.modelcontextprotocol/clientCapabilities":{ALL}}}"#);
        let first = peer.run(call(method.clone(), &format!("{params},{meta}}}")));
        let id = peer.server.id_of(params).await;
        let url = r#"{"mode":"url","message":"go","url":"https://a","elicitationId":"e"}"#;
        let sampling = r#"{"messages":[],"maxTokens":9,"tools":[]}"#;
        peer.ask("1", Method::ElicitationCreate, url, Some(id)).await;
        peer.ask("2", Method::SamplingCreateMessage, sampling, Some(id)).await;
        peer.ask_as(RequestId::Number(3), Method::RootsList, "{}", Some(id)).await;
        let asked = first.asked().await;
        let told: Vec<_> = asked.asked.requests.iter().map(|one| one.params.as_ref().unwrap().as_str()).collect();
        assert_eq!(told, [url, sampling, "{}"], "several at once go together");
        let answers = [r#"{"action":"accept"}"#, r#"{"role":"assistant"}"#, r#"{"roots":[{"uri":"file:///mine"}]}"#];
        let retry = format!(
            r#"{params},{meta},"requestState":"{}","inputResponses":{}}}"#,
            asked.state(),
            asked.answers(&answers)
        );
        let retry = peer.run(call(method.clone(), &retry));
        for (id, answer) in [r#""1""#, r#""2""#, "3"].into_iter().zip(answers) {
            peer.server.saw(&format!(r#""id":{id},"result":{answer}"#)).await;
        }
        peer.finish(id, r#"{"x":1}"#);
        assert!(retry.outcome().await.unwrap().as_str().contains(r#""x":1"#));
        peer.idle().await;
    }
}

#[tokio::test]
async fn a_later_question_comes_in_the_next_round() {
    for on_stream in BOTH {
        let peer = Peer::new(|_| {}).await;
        let (first, id) = peer.parked("book", "q1", on_stream).await;
        // While nobody is there.
        peer.elicit("q2", on_stream.then_some(id)).await;
        peer.settled().await;
        let second = peer.retry("book", first.state(), &first.answers(&[ACCEPT])).asked().await;
        assert_ne!(first.state(), second.state());
        assert_eq!((second.asked.requests.len(), second.key(0)), (1, "input-2"));
        // And while somebody is.
        let third = peer.retry("book", second.state(), &second.answers(&[ACCEPT]));
        peer.server.saw(r#""id":"q2","result""#).await;
        peer.elicit("q3", on_stream.then_some(id)).await;
        let third = third.asked().await;
        assert_eq!(third.key(0), "input-3");
        let last = peer.retry("book", third.state(), &third.answers(&[ACCEPT]));
        peer.server.saw(r#""id":"q3","result""#).await;
        peer.finish(id, RESULT);
        last.outcome().await.unwrap();
        peer.idle().await;
    }
}

#[tokio::test]
async fn what_comes_meanwhile_is_delivered_to_the_retry() {
    let peer = Peer::with(r#"{"logging":{}}"#, |_| {}).await;
    let meta = r#","progressToken":"old","io.modelcontextprotocol/logLevel":"error""#;
    let first = peer.run(tool("book", ALL, meta));
    let id = peer.server.id_of("book").await;
    peer.elicit("q1", Some(id)).await;
    let asked = first.asked().await;
    let say = |method: Method, params: String| {
        peer.server.calls.push(id, Notification { method, params: Some(json(&params)) });
    };
    for progress in 1..=3 {
        say(Method::Progress, format!(r#"{{"progressToken":{id},"progress":{progress}}}"#));
    }
    say(Method::LogMessage, r#"{"level":"info","data":"kept"}"#.into());
    say(Method::LogMessage, r#"{"level":"debug","data":"too fine"}"#.into());
    let meta = r#","progressToken":"new","io.modelcontextprotocol/logLevel":"info""#;
    let retry = peer.run(again_with("book", asked.state(), &asked.answers(&[ACCEPT]), meta));
    peer.server.saw(r#""id":"q1","result""#).await;
    peer.finish(id, RESULT);
    let (events, outcome) = retry.done().await;
    outcome.unwrap();
    let params = |event: &Event| match event {
        Event::Progress(one) | Event::Notification(one) => one.params.as_ref().unwrap().as_str().to_owned(),
        Event::Done(_) => panic!("done"),
    };
    let events: Vec<_> = events.iter().map(params).collect();
    assert_eq!(events, [r#"{"progressToken":"new","progress":3}"#, r#"{"level":"info","data":"kept"}"#]);
}

#[tokio::test]
async fn what_comes_while_questions_are_gathered_is_not_lost() {
    let peer = Peer::new(|waits| waits.gather = LONG).await;
    let (running, id) = peer.start("book", ALL).await;
    peer.elicit("q1", Some(id)).await;
    peer.settled().await;
    let other = Notification { method: Method::Other("x/y".into()), params: None };
    peer.server.calls.push(id, other.clone());
    // The server has not waited for the answer.
    peer.finish(id, RESULT);
    let (events, outcome) = running.done().await;
    assert_eq!(events, [Event::Notification(other)]);
    assert_eq!(outcome.unwrap().as_str(), COMPLETE);
    peer.server.saw(r#""id":"q1","error""#).await;
    peer.idle().await;
}

#[tokio::test]
async fn a_result_that_comes_while_the_call_is_parked_is_for_the_retry() {
    for on_stream in BOTH {
        let peer = Peer::new(|_| {}).await;
        let (asked, id) = peer.parked("book", "q1", on_stream).await;
        peer.finish(id, RESULT);
        peer.server.saw(r#""id":"q1","error""#).await;
        let retry = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT]));
        assert_eq!(retry.outcome().await.unwrap().as_str(), COMPLETE);
        assert_eq!(peer.server.count(r#""id":"q1","result""#), 0);
        peer.idle().await;
    }
}

#[tokio::test]
async fn a_question_that_the_server_takes_back_is_not_open() {
    for on_stream in BOTH {
        let peer = Peer::new(|_| {}).await;
        let (asked, id) = peer.parked("book", "q1", on_stream).await;
        peer.server.notify(Method::Cancelled, r#"{"requestId":"q1","reason":"time"}"#).await;
        peer.settled().await;
        let retry = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT]));
        // Also on the call's own stream.
        peer.elicit("q2", on_stream.then_some(id)).await;
        let asked = retry.asked().await;
        assert_eq!(asked.key(0), "input-2");
        let taken_back = Notification { method: Method::Cancelled, params: Some(json(r#"{"requestId":"q2"}"#)) };
        peer.server.calls.push(id, taken_back);
        let retry = peer.retry("book", asked.state(), "{}");
        peer.finish(id, RESULT);
        let (events, outcome) = retry.done().await;
        assert_eq!((events.len(), outcome.unwrap().as_str()), (0, COMPLETE));
        assert_eq!(peer.server.count(r#""id":"q"#), 0, "nothing is answered");
        peer.idle().await;
    }
}
