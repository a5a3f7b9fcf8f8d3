use super::*;

const LISTEN: Duration = Duration::from_secs(3);

#[test]
fn it_is_over_when_all_had_time_to_speak_and_are_known() {
    let (start, mut settling) = (Instant::now(), Settling::new(LISTEN));
    assert!(!settling.is_over(true, true, start));
    assert!(!settling.is_over(true, true, start + LISTEN / 2));
    assert!(!settling.is_over(true, false, start + LISTEN), "somebody spoke, and its servers are not known");
    assert!(settling.is_over(true, true, start + LISTEN));
    assert!(Settling::new(Duration::ZERO).is_over(true, true, start), "a node that is alone waits for nobody");
}

#[test]
fn the_time_counts_from_the_connection() {
    let (start, mut settling) = (Instant::now(), Settling::new(LISTEN));
    assert!(!settling.is_over(false, true, start));
    let later = start + 9 * LISTEN;
    assert!(!settling.is_over(false, true, later));
    assert!(!settling.is_over(true, true, later), "nobody was heard until now");
    assert!(!settling.is_over(false, true, later + LISTEN / 2));
    assert!(!settling.is_over(true, true, later + LISTEN), "it was cut off meanwhile");
    assert!(settling.is_over(true, true, later + 2 * LISTEN));
    assert!(settling.has_heard(true, later + 2 * LISTEN), "whether their servers are known or not");
    assert!(!settling.has_heard(false, later + 2 * LISTEN));
    assert!(!settling.has_heard(true, later + 3 * LISTEN), "nobody was heard for a while");
    assert!(settling.has_heard(true, later + 4 * LISTEN));
}

#[test]
fn a_peer_that_does_not_tell_its_servers_is_not_waited_for_for_ever() {
    let (start, mut settling) = (Instant::now(), Settling::new(LISTEN));
    assert!(!settling.is_over(true, false, start));
    assert!(!settling.is_over(true, false, start + STATE_PATIENCE));
    assert!(settling.is_over(true, false, start + LISTEN + STATE_PATIENCE));
}
