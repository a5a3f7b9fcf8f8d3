//! Nothing grows without end.

use super::*;

#[tokio::test]
async fn one_call_has_so_many_open_requests() {
    let peer = Peer::new(|waits| waits.gather = LONG).await;
    let (running, id) = peer.start("book", ALL).await;
    for number in 0..33 {
        peer.elicit(&format!("q{number}"), Some(id)).await;
    }
    peer.server.saw(r#""id":"q32","error""#).await;
    assert_eq!(peer.server.count(r#""id":"q"#), 1);
    running.cancel().await;
    peer.idle().await;
}

#[tokio::test]
async fn one_connection_parks_so_many_calls() {
    let peer = Peer::new(|_| {}).await;
    let mut parked = Vec::new();
    for number in 0..256 {
        parked.push(peer.parked(&format!("t{number}."), &format!("q{number}."), true).await.0);
    }
    let (running, id) = peer.start("one too many", ALL).await;
    peer.elicit("more", Some(id)).await;
    peer.server.saw(r#""id":"more","error":{"code":-32603"#).await;
    peer.finish(id, RESULT);
    running.outcome().await.unwrap();
    // One that is parked already may ask more.
    let retry = peer.retry("t7.", parked[7].state(), &parked[7].answers(&[ACCEPT]));
    let id = peer.server.id_of("t7.").await;
    peer.elicit("again", Some(id)).await;
    assert_eq!(retry.asked().await.key(0), "input-2");
    assert_eq!(peer.sizes(), (256, 256, 0));
}

#[tokio::test]
async fn notifications_of_a_parked_call_are_bounded() {
    let peer = Peer::new(|_| {}).await;
    let (asked, id) = peer.parked("book", "q1", true).await;
    let other = Notification { method: Method::Other("x/y".into()), params: None };
    for _ in 0..300 {
        peer.server.calls.push(id, other.clone());
        // The task takes them one by one, so that no other bound is met.
        tokio::task::yield_now().await;
    }
    peer.finish(id, RESULT);
    peer.server.saw(r#""id":"q1","error""#).await;
    let (events, outcome) = peer.retry("book", asked.state(), "{}").done().await;
    outcome.unwrap();
    assert_eq!(events.len(), 256);
}
