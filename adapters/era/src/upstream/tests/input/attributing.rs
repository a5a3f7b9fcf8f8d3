//! Requests that do not say to which call they belong.

use super::*;

/// Calls in flight, which the server has.
async fn two(peer: &Peer) -> [(Running, i64); 2] {
    [peer.start("one", ALL).await, peer.start("two", ALL).await]
}

fn is_waiting(peer: &Peer, name: &str) -> bool {
    peer.server.count(&format!("\"{name}\"")) == 0
}

#[tokio::test]
async fn a_request_waits_until_one_call_is_left_and_so_do_new_calls() {
    let peer = Peer::new(|_| {}).await;
    let [(one, first), (two, second)] = two(&peer).await;
    peer.elicit("q1", None).await;
    peer.settled().await;
    let third = peer.run(tool("three", ALL, ""));
    // Lists are no calls that ask: they neither wait nor count.
    let list = peer.run(call(Method::ToolsList, r#"{"cursor":"c"}"#));
    let list_id = peer.server.id_of("cursor").await;
    assert!(is_waiting(&peer, "three"), "nobody is added while it is unclear whose it is");
    peer.finish(first, RESULT);
    assert_eq!(one.outcome().await.unwrap().as_str(), COMPLETE);
    let asked = two.asked().await;
    peer.server.saw("\"three\"").await;
    let retry = peer.retry("two", asked.state(), &asked.answers(&[ACCEPT]));
    peer.server.saw(r#""id":"q1","result""#).await;
    peer.finish(second, RESULT);
    retry.outcome().await.unwrap();
    peer.finish(peer.server.id_of("\"three\"").await, RESULT);
    third.outcome().await.unwrap();
    peer.finish(list_id, RESULT);
    list.outcome().await.unwrap();
    peer.idle().await;
}

#[tokio::test]
async fn on_a_calls_own_stream_nothing_waits() {
    let peer = Peer::new(|_| {}).await;
    let [(one, first), (two, second)] = two(&peer).await;
    peer.elicit("q2", Some(second)).await;
    let asked = two.asked().await;
    peer.elicit("q1", Some(first)).await;
    one.asked().await;
    assert_eq!(asked.asked.requests.len(), 1);
    // Nor does a call that has asked there run alone.
    peer.start("one", ALL).await;
}

#[tokio::test]
async fn what_stays_unclear_is_refused_and_runs_one_by_one_from_then_on() {
    let peer = Peer::new(|waits| waits.attribute = Duration::from_millis(20)).await;
    let [(one, first), (two, second)] = two(&peer).await;
    peer.elicit("q1", None).await;
    let refusal = peer.server.saw(r#""id":"q1","error""#).await;
    assert!(refusal.contains("one of several calls"), "{refusal}");
    for (running, id) in [(one, first), (two, second)] {
        peer.finish(id, RESULT);
        assert_eq!(running.outcome().await.unwrap().as_str(), COMPLETE);
    }
    // Both are remembered.
    let (one, first) = peer.start("one", ALL).await;
    let before = peer.server.count("\"two\"");
    let two = peer.run(tool("two", ALL, ""));
    let (other, other_id) = peer.start("never asked", ALL).await;
    peer.finish(other_id, RESULT);
    other.outcome().await.unwrap();
    assert_eq!(peer.server.count("\"two\""), before, "it waits for its turn");
    peer.elicit("q2", None).await;
    let asked = one.asked().await;
    let one = peer.retry("one", asked.state(), &asked.answers(&[ACCEPT]));
    peer.server.saw(r#""id":"q2","result""#).await;
    assert_eq!(peer.server.count("\"two\""), before, "also while the first is parked and resumed");
    peer.finish(first, RESULT);
    one.outcome().await.unwrap();
    let turn = async {
        while peer.server.count("\"two\"") == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, turn).await.unwrap();
    peer.elicit("q3", None).await;
    two.asked().await;
}

#[tokio::test]
async fn who_waits_for_its_turn_does_so_until_its_deadline() {
    let peer = Peer::new(|_| {}).await;
    peer.parked("book", "q1", false).await;
    let mut call = tool("book", ALL, "");
    call.deadline = tokio::time::Instant::now() + Duration::from_millis(20);
    let error = peer.run(call).error().await;
    assert_eq!(error.kind, ErrorKind::Overloaded, "nothing was executed");
    // The turn of who left is not lost.
    let waiting = peer.run(tool("book", ALL, ""));
    tokio::task::yield_now().await;
    waiting.cancel().await;
    assert_eq!(peer.server.count("tools/call"), 1);
}

#[tokio::test]
async fn while_a_cancelled_call_may_ask_nothing_is_guessed() {
    let peer = Peer::new(|_| {}).await;
    let (gone, _) = peer.start("gone", ALL).await;
    gone.cancel().await;
    let (running, id) = peer.start("book", ALL).await;
    peer.elicit("q1", None).await;
    peer.server.saw(r#""id":"q1","error""#).await;
    // Its own stream says whose it is.
    peer.elicit("q2", Some(id)).await;
    assert_eq!(running.asked().await.asked.requests.len(), 1);
}

#[tokio::test]
async fn a_cancelled_call_is_forgotten_in_time() {
    let peer = Peer::new(|waits| waits.cancelled = Duration::ZERO).await;
    let (gone, _) = peer.start("gone", ALL).await;
    gone.cancel().await;
    let (asked, _) = peer.parked("book", "q1", false).await;
    assert_eq!(asked.key(0), "input-1");
    // One that asked keeps its lane as long, and no longer.
    let retry = peer.retry("book", asked.state(), &asked.answers(&[ACCEPT]));
    peer.server.saw(r#""id":"q1","result""#).await;
    let next = peer.run(tool("book", ALL, r#","n":2"#));
    retry.cancel().await;
    peer.server.saw(r#""n":2"#).await;
    next.cancel().await;
    peer.idle().await;
}

#[tokio::test]
async fn a_suspect_that_is_cancelled_makes_it_unclear_for_good() {
    let peer = Peer::new(|_| {}).await;
    let [(one, _), (two, second)] = two(&peer).await;
    peer.elicit("q1", None).await;
    peer.settled().await;
    one.cancel().await;
    peer.server.saw(r#""id":"q1","error""#).await;
    peer.finish(second, RESULT);
    assert_eq!(two.outcome().await.unwrap().as_str(), COMPLETE);
    peer.idle().await;
}

#[tokio::test]
async fn a_held_request_can_be_taken_back() {
    let peer = Peer::new(|_| {}).await;
    let [(one, first), (two, second)] = two(&peer).await;
    peer.elicit("q1", None).await;
    peer.settled().await;
    let third = peer.run(tool("three", ALL, ""));
    peer.server.notify(Method::Cancelled, r#"{"requestId":"q1"}"#).await;
    let third_id = peer.server.id_of("\"three\"").await;
    for (running, id) in [(one, first), (two, second), (third, third_id)] {
        peer.finish(id, RESULT);
        assert_eq!(running.outcome().await.unwrap().as_str(), COMPLETE);
    }
    assert_eq!(peer.server.count(r#""id":"q1""#), 0);
}

#[tokio::test]
async fn when_every_suspect_is_answered_it_belongs_to_none() {
    let peer = Peer::new(|_| {}).await;
    let [(one, first), (two, second)] = two(&peer).await;
    // Both are told at the same time, so that neither is left.
    peer.elicit("q1", None).await;
    peer.settled().await;
    peer.finish(first, RESULT);
    one.outcome().await.unwrap();
    let asked = two.asked().await;
    peer.finish(second, RESULT);
    peer.server.saw(r#""id":"q1","error""#).await;
    assert_eq!(peer.retry("two", asked.state(), "{}").outcome().await.unwrap().as_str(), COMPLETE);
    peer.idle().await;
}

#[tokio::test]
async fn a_new_session_has_asked_nothing() {
    let peer = Peer::new(|_| {}).await;
    let [(one, _), (two, _)] = two(&peer).await;
    peer.elicit("q1", None).await;
    peer.settled().await;
    let third = peer.run(tool("three", ALL, ""));
    peer.server.unasked().send(Unasked::SessionRenewed).await.unwrap();
    peer.server.id_of("\"three\"").await;
    for running in [one, two, third] {
        running.cancel().await;
    }
    peer.idle().await;
}

#[tokio::test]
async fn what_is_called_for_the_first_time_shows_alone_whether_it_asks() {
    let peer = Peer::new(|waits| waits.first = LONG).await;
    let (one, first) = peer.start("one", ALL).await;
    let two = peer.run(tool("two", ALL, ""));
    // Who can be asked nothing has nothing to wait for.
    let (deaf, third) = peer.start("three", "{}").await;
    assert!(is_waiting(&peer, "two"));
    peer.finish(third, RESULT);
    deaf.outcome().await.unwrap();
    peer.elicit("q1", None).await;
    let asked = one.asked().await;
    let retry = peer.retry("one", asked.state(), &asked.answers(&[ACCEPT]));
    peer.server.saw(r#""id":"q1","result""#).await;
    assert!(is_waiting(&peer, "two"));
    peer.finish(first, RESULT);
    retry.outcome().await.unwrap();
    let second = peer.server.id_of("\"two\"").await;
    peer.elicit("q2", None).await;
    let asked = two.asked().await;
    let retry = peer.retry("two", asked.state(), &asked.answers(&[ACCEPT]));
    peer.server.saw(r#""id":"q2","result""#).await;
    peer.finish(second, RESULT);
    retry.outcome().await.unwrap();
    // What has shown that it does not ask waits for nobody any more.
    let (quiet, id) = peer.start("quiet", ALL).await;
    peer.finish(id, RESULT);
    quiet.outcome().await.unwrap();
    let both = [peer.start("quiet", ALL).await, peer.start("quiet", ALL).await];
    for (running, id) in both {
        peer.finish(id, RESULT);
        running.outcome().await.unwrap();
    }
    peer.idle().await;
}

#[tokio::test]
async fn a_completion_may_have_asked_too() {
    let peer = Peer::new(|waits| waits.attribute = Duration::from_millis(20)).await;
    let (tool, id) = peer.start("one", ALL).await;
    let completion = peer
        .run(call(Method::Complete, r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}}"#));
    let completion_id = peer.server.id_of("ref/prompt").await;
    peer.elicit("q1", None).await;
    // It may be the completion's: nobody is shown it.
    peer.server.saw(r#""id":"q1","error""#).await;
    peer.finish(id, RESULT);
    assert_eq!(tool.outcome().await.unwrap().as_str(), COMPLETE);
    peer.finish(completion_id, r#"{"completion":{"values":[]}}"#);
    completion.outcome().await.unwrap();
    peer.idle().await;
}

#[tokio::test]
async fn a_question_that_nobody_answers_gives_way_to_who_waits() {
    let peer = Peer::new(|waits| waits.give_way = Duration::from_millis(20)).await;
    let (asked, first) = peer.parked("one", "q1", false).await;
    // Nobody waits: it has all the time.
    peer.settled().await;
    assert_eq!(peer.server.count(r#""id":"q1","error""#), 0);
    let waiting = peer.run(tool("one", ALL, ""));
    let refusal = peer.server.saw(r#""id":"q1","error""#).await;
    assert!(refusal.contains("another call waits"), "{refusal}");
    // The server ends its call, and the other one has the turn.
    let before = peer.server.sent();
    peer.finish(first, r#"{"content":[],"isError":true}"#);
    let second = peer.server.id_of_next("\"one\"", before).await;
    peer.elicit("q2", None).await;
    let next = waiting.asked().await;
    // Whoever comes late gets what the server said.
    let late = peer.retry("one", asked.state(), &asked.answers(&[ACCEPT]));
    assert!(late.outcome().await.unwrap().as_str().contains("isError"));
    let retry = peer.retry("one", next.state(), &next.answers(&[ACCEPT]));
    peer.server.saw(r#""id":"q2","result""#).await;
    peer.finish(second, RESULT);
    retry.outcome().await.unwrap();
    peer.idle().await;
}
