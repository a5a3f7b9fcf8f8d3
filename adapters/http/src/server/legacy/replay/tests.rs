#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;

fn replay(max_events: usize, max_bytes: usize) -> Arc<Replay> {
    let resume_timeout = Duration::from_secs(3600);
    Arc::new(Replay::new(Bounds { max_waiting: 2, max_events, max_bytes, resume_timeout }))
}

fn with_timeout(resume_timeout: Duration) -> Arc<Replay> {
    Arc::new(Replay::new(Bounds { max_waiting: 2, max_events: 8, max_bytes: 1000, resume_timeout }))
}

fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The text of the next event.
async fn next(reader: &mut Reader) -> Option<String> {
    match reader.next().await? {
        Found::Event(id, message) => Some(format!("{id} {}", String::from_utf8(message.to_vec()).unwrap())),
        Found::Gap(lost) => Some(format!("gap {lost}")),
    }
}

#[test]
fn ids_name_their_stream() {
    assert_eq!("3-17".parse(), Ok(EventId { stream: 3, number: 17 }));
    assert_eq!(EventId { stream: 3, number: 17 }.to_string(), "3-17");
    for wrong in ["", "3", "-", "3-", "-1", "a-1", "1-1-1", "99999999999999999999-1"] {
        assert_eq!(wrong.parse::<EventId>(), Err(()), "{wrong}");
    }
}

#[tokio::test]
async fn the_sessions_own_stream_is_bounded_deduplicated_and_read_by_the_newest() {
    let replay = replay(8, 1000);
    for message in ["a", "b", "b", "c"] {
        replay.tell(text(message));
    }
    assert!(!replay.is_read());
    let mut first = replay.listen().unwrap();
    assert_eq!(next(&mut first).await.unwrap(), "0-1 b");
    let mut second = replay.listen().unwrap();
    assert_eq!(next(&mut first).await, None);
    drop(first);
    assert!(replay.is_read());
    assert_eq!(next(&mut second).await.unwrap(), "0-2 c");
    let (found, ()) = tokio::join!(next(&mut second), async { replay.tell(text("c")) });
    assert_eq!(found.unwrap(), "0-3 c", "what was sent may be said again");
    drop(second);
    assert!(!replay.is_read());
    // Who says where it stopped hears the rest again.
    let mut third = replay.resume("0-1".parse().unwrap()).unwrap();
    assert_eq!(next(&mut third).await.unwrap(), "0-2 c");
    assert_eq!(next(&mut third).await.unwrap(), "0-3 c");
    // A position that was never reached is that of a session before this one.
    let mut fourth = replay.resume("0-99".parse().unwrap()).unwrap();
    replay.tell(text("d"));
    assert_eq!(next(&mut fourth).await.unwrap(), "0-4 d");
}

#[tokio::test]
async fn each_stream_is_read_on_by_itself() {
    let replay = replay(8, 1000);
    let ((a, first), (b, second)) = (replay.begin(true), replay.begin(false));
    for message in ["1", "2", "3"] {
        first.push(text(message)).await;
        second.push(text(&format!("other {message}"))).await;
    }
    let mut reader = replay.resume(EventId { stream: a, number: 0 }).unwrap();
    assert_eq!(next(&mut reader).await.unwrap(), "1-1 1");
    assert_eq!(next(&mut reader).await.unwrap(), "1-2 2");
    drop(reader);
    let mut again = replay.resume(EventId { stream: a, number: 1 }).unwrap();
    assert_eq!(next(&mut again).await.unwrap(), "1-2 2");
    assert_eq!(next(&mut again).await.unwrap(), "1-3 3");
    drop(first);
    assert_eq!(next(&mut again).await, None, "the stream has ended");
    let mut other = replay.resume(EventId { stream: b, number: 2 }).unwrap();
    assert_eq!(next(&mut other).await.unwrap(), "2-1 other 1", "what was not sent was not seen");
    assert!(replay.resume(EventId { stream: 9, number: 0 }).is_none());
}

#[tokio::test]
async fn what_was_sent_makes_way_oldest_first_and_a_gap_is_told() {
    let replay = replay(3, 1000);
    let (a, first) = replay.begin(true);
    let mut reader = replay.resume(EventId { stream: a, number: 0 }).unwrap();
    for message in ["1", "2", "3", "4", "5"] {
        first.push(text(message)).await;
        next(&mut reader).await.unwrap();
    }
    assert_eq!(replay.kept(), (2, 3, 3));
    let mut again = replay.resume(EventId { stream: a, number: 1 }).unwrap();
    assert_eq!(next(&mut again).await.unwrap(), "gap 1");
    assert_eq!(next(&mut again).await.unwrap(), "1-3 3");
    first.forget();
    assert_eq!(replay.kept(), (1, 0, 0));
    assert_eq!(next(&mut again).await, None);
}

#[tokio::test]
async fn a_writer_waits_for_room_but_never_for_another_stream() {
    for (events, bytes) in [(2, 1000), (1000, 2)] {
        let replay = replay(events, bytes);
        let (a, first) = replay.begin(true);
        first.push(text("1")).await;
        first.push(text("2")).await;
        let full = first.push(text("3"));
        tokio::pin!(full);
        assert!(futures::poll!(full.as_mut()).is_pending());
        // Another stream has one place of its own.
        let (_, second) = replay.begin(true);
        second.push(text("x")).await;
        let mut reader = replay.resume(EventId { stream: a, number: 0 }).unwrap();
        assert_eq!(next(&mut reader).await.unwrap(), "1-1 1");
        assert_eq!(next(&mut reader).await.unwrap(), "1-2 2");
        full.await;
        assert_eq!(next(&mut reader).await.unwrap(), "1-3 3");
    }
}

#[tokio::test]
async fn who_knows_no_id_cannot_come_back_and_the_others_have_their_time() {
    let patient = replay(8, 1000);
    let (a, unknown) = patient.begin(false);
    let reader = patient.read(a, 1).unwrap();
    assert!(futures::poll!(std::pin::pin!(unknown.abandoned())).is_pending(), "it is read");
    drop(reader);
    unknown.abandoned().await;

    let (b, known) = patient.begin(true);
    drop(patient.read(b, 1).unwrap());
    let abandoned = known.abandoned();
    tokio::pin!(abandoned);
    assert!(futures::poll!(abandoned.as_mut()).is_pending(), "there is time to come back");
    let back = patient.resume(EventId { stream: b, number: 0 }).unwrap();
    assert!(futures::poll!(abandoned.as_mut()).is_pending(), "somebody reads");
    drop(back);

    let hasty = with_timeout(Duration::ZERO);
    let (c, known) = hasty.begin(true);
    let reader = hasty.read(c, 1).unwrap();
    assert!(futures::poll!(std::pin::pin!(known.abandoned())).is_pending(), "somebody reads");
    drop(reader);
    known.abandoned().await;
}

#[tokio::test]
async fn ended_streams_are_forgotten_when_nobody_comes_back() {
    for (timeout, left) in [(Duration::ZERO, (1, 0, 0)), (Duration::from_secs(3600), (2, 1, 1))] {
        let replay = with_timeout(timeout);
        let (a, writer) = replay.begin(true);
        writer.push(text("1")).await;
        let reader = replay.read(a, 1).unwrap();
        replay.sweep();
        drop(writer);
        replay.sweep();
        assert_eq!(replay.kept(), (2, 1, 1), "somebody reads");
        drop(reader);
        replay.sweep();
        assert_eq!(replay.kept(), left);
    }
}

#[tokio::test]
async fn streams_are_bounded_and_the_oldest_that_is_over_makes_way() {
    let replay = replay(8, 1000);
    let (running, _writer) = replay.begin(true);
    let (read, writer) = replay.begin(true);
    let _reader = replay.resume(EventId { stream: read, number: 0 }).unwrap();
    drop(writer);
    let (oldest, writer) = replay.begin(true);
    writer.push(text("1")).await;
    drop(writer);
    let kept = |stream| replay.state().streams.contains_key(&stream);
    while replay.kept().0 < MAX_STREAMS {
        assert!(kept(oldest), "there is room");
        drop(replay.begin(true));
    }
    let (last, writer) = replay.begin(true);
    drop(writer);
    assert_eq!(replay.kept(), (MAX_STREAMS, 0, 0), "what it held is given back");
    assert!(replay.resume(EventId { stream: oldest, number: 0 }).is_none());
    for _ in 0..MAX_STREAMS {
        drop(replay.begin(true));
    }
    assert_eq!(replay.kept().0, MAX_STREAMS);
    assert!(!kept(last) && [OWN, running, read].into_iter().all(kept));
}
