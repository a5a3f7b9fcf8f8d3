//! Publications: at most once, in order per publisher.

use futures::{StreamExt, stream::BoxStream};
use spanwire_model::{BusMessage, ErrorKind, Publication, Topic};

use super::fixture::{Fixture, MAX_MESSAGE_BYTES, node_id};

pub(super) fn topic(kind: &str, id: &str, what: &str) -> Topic {
    Topic { kind: kind.into(), id: id.into(), what: what.into() }
}

pub(super) async fn heard(messages: &mut BoxStream<'static, BusMessage>) -> Publication {
    match messages.next().await.expect("subscription ended") {
        BusMessage::Publication(publication) => publication,
        BusMessage::Gap => panic!("a gap"),
    }
}

pub(super) async fn publications_arrive_in_order(fixture: &Fixture) {
    const PUBLICATIONS: usize = 500;
    let mut elsewhere = fixture.a.subscribe("server").await.unwrap();
    let mut at_home = fixture.b.subscribe("server").await.unwrap();
    for n in 0..PUBLICATIONS {
        let topic = topic("server", if n % 2 == 0 { "fs" } else { "git" }, "changed");
        fixture.b.publish(&topic, n.to_string().into()).await.unwrap();
    }
    for n in 0..PUBLICATIONS {
        let publication = heard(&mut elsewhere).await;
        assert_eq!(publication.payload, n.to_string());
        assert_eq!((&*publication.topic.kind, &*publication.topic.what), ("server", "changed"));
        assert_eq!(publication.topic.id, if n % 2 == 0 { "fs" } else { "git" });
        assert_eq!(publication.from, node_id("b"));
        assert_eq!(heard(&mut at_home).await, publication);
    }
}

pub(super) async fn other_kinds_and_tenants_are_not_heard(fixture: &Fixture) {
    let mut servers = fixture.a.subscribe("server").await.unwrap();
    fixture.b.publish(&topic("node", "b", "joined"), "1".into()).await.unwrap();
    fixture.stranger.publish(&topic("server", "fs", "changed"), "2".into()).await.unwrap();
    fixture.b.publish(&topic("server", "fs", "changed"), "3".into()).await.unwrap();
    assert_eq!(heard(&mut servers).await.payload, "3");
    drop(servers);
    fixture.b.publish(&topic("server", "fs", "changed"), "to nobody".into()).await.unwrap();
}

pub(super) async fn odd_topics_arrive_whole(fixture: &Fixture) {
    let kind = "resource updates > *";
    let mut messages = fixture.a.subscribe(kind).await.unwrap();
    let long = format!("fs+file:///{}", "ä.b c/".repeat(300));
    for (id, what) in [("file:///a b.txt", "updated"), (&*long, "x.y"), ("", "_"), ("*", ">")] {
        let topic = topic(kind, id, what);
        fixture.c.publish(&topic, "x".into()).await.unwrap();
        assert_eq!(heard(&mut messages).await.topic, topic);
    }
}

pub(super) async fn a_slow_subscriber_is_told_of_a_gap(fixture: &Fixture) {
    /// More than any implementation keeps for a subscriber.
    const PUBLICATIONS: usize = 20_000;
    let mut slow = fixture.a.subscribe("server").await.unwrap();
    let mut done = fixture.a.subscribe("done").await.unwrap();
    for n in 0..PUBLICATIONS {
        fixture.b.publish(&topic("server", "fs", "changed"), n.to_string().into()).await.unwrap();
    }
    fixture.b.publish(&topic("done", "all", "done"), "x".into()).await.unwrap();
    while done.next().await.expect("subscription ended") == BusMessage::Gap {}
    let mut last = None;
    loop {
        match slow.next().await.expect("subscription ended") {
            BusMessage::Gap => break,
            BusMessage::Publication(publication) => {
                let n = String::from_utf8_lossy(&publication.payload).parse::<usize>().unwrap();
                assert!(last < Some(n), "{n} after {last:?}");
                last = Some(n);
            }
        }
    }
}

pub(super) async fn a_publication_above_the_limit_is_refused(fixture: &Fixture) {
    let mut messages = fixture.a.subscribe("server").await.unwrap();
    let changed = topic("server", "fs", "changed");
    let error = fixture.b.publish(&changed, vec![b'x'; MAX_MESSAGE_BYTES + 1].into()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge, "{error:?}");
    fixture.b.publish(&changed, "small".into()).await.unwrap();
    assert_eq!(heard(&mut messages).await.payload, "small");
}
