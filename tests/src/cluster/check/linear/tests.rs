use super::*;
use crate::cluster::{
    check::samples::{append, event, put, put_if, read},
    random::Random,
};

const LINEAR: Level = Level::Linearizable;

fn unknown() -> Outcome {
    Outcome::Unknown("deadline_exceeded".to_owned())
}

#[test]
fn one_after_the_other() {
    let history = [
        read("k", LINEAR, 0, &[], 0, 5),
        put("k", 1, 10, 20, Outcome::Written(3)),
        read("k", LINEAR, 3, &[1], 30, 40),
        put_if("k", 3, 2, 50, 60, Outcome::Written(4)),
        append("k", 3, 70, 80, Outcome::Written(9)),
        put_if("k", 4, 4, 90, 95, Outcome::Refused(Some(9))),
        read("k", LINEAR, 9, &[2, 3], 100, 110),
    ];
    assert!(check(&history, &[]).is_clean());
}

#[test]
fn what_overlaps_may_be_seen_before_its_answer_and_in_any_order() {
    let history = [
        put("k", 1, 0, 100, Outcome::Written(5)),
        put("k", 2, 0, 100, Outcome::Written(4)),
        read("k", LINEAR, 4, &[2], 10, 20),
        read("k", LINEAR, 5, &[1], 30, 40),
    ];
    assert!(check(&history, &[]).is_clean());
}

#[test]
fn a_stale_read_is_found() {
    let history = [
        put("k", 1, 0, 10, Outcome::Written(3)),
        put("k", 2, 20, 30, Outcome::Written(4)),
        read("k", LINEAR, 3, &[1], 40, 50),
    ];
    assert_eq!(check(&history, &[]).wrong.len(), 1);
    // The same read promises less at another level, and another key has nothing to do with it.
    let local = [history[0].clone(), history[1].clone(), read("k", Level::Local, 3, &[1], 40, 50)];
    assert!(check(&local, &[]).is_clean());
    let other = [history[0].clone(), history[1].clone(), read("other", LINEAR, 0, &[], 40, 50)];
    assert!(check(&other, &[]).is_clean());
}

#[test]
fn going_back_in_time_is_found() {
    let history = [
        put("k", 1, 0, 100, Outcome::Written(5)),
        read("k", LINEAR, 5, &[1], 10, 20),
        read("k", LINEAR, 0, &[], 30, 40),
    ];
    assert_eq!(check(&history, &[]).wrong.len(), 1);
}

#[test]
fn a_lost_update_is_found() {
    let history = [
        put("k", 1, 0, 10, Outcome::Written(3)),
        put_if("k", 3, 2, 20, 30, Outcome::Written(4)),
        put_if("k", 3, 3, 20, 30, Outcome::Written(5)),
    ];
    assert_eq!(check(&history, &[]).wrong.len(), 1);
}

#[test]
fn a_refusal_without_a_reason_is_found() {
    let history = [put("k", 1, 0, 10, Outcome::Written(3)), put_if("k", 3, 2, 20, 30, Outcome::Refused(None))];
    assert_eq!(check(&history, &[]).wrong.len(), 1);
}

#[test]
fn an_appended_number_that_vanishes_is_found() {
    let history = [
        append("k", 1, 0, 10, Outcome::Written(3)),
        append("k", 2, 20, 30, Outcome::Written(4)),
        read("k", LINEAR, 4, &[2], 40, 50),
    ];
    assert_eq!(check(&history, &[]).wrong.len(), 1);
}

#[test]
fn an_unknown_write_may_have_happened_late_or_never() {
    let never = [put("k", 1, 0, 10, unknown()), read("k", LINEAR, 0, &[], 20, 30)];
    assert!(check(&never, &[]).is_clean());
    let late = [put("k", 1, 0, 10, unknown()), read("k", LINEAR, 0, &[], 20, 30), read("k", LINEAR, 7, &[1], 40, 50)];
    assert!(check(&late, &[event("k", 7, &[1])]).is_clean());
    let early = [read("k", LINEAR, 7, &[1], 0, 10), put("k", 1, 20, 30, unknown())];
    assert_eq!(check(&early, &[event("k", 7, &[1])]).wrong.len(), 1, "read before it was written");
}

/// A history as a right implementation makes it: operations of several clients overlap, and take effect at moments of their own.
fn right_history(random: &mut Random, count: u64) -> (Vec<Operation>, Vec<Event>) {
    let (mut state, mut history, mut log) = (Versioned::default(), Vec::new(), Vec::new());
    for item in 1..=count {
        let effect = item * 100;
        let (begun, ended) = (effect - random.below(400).min(effect), effect + random.below(400));
        let version = item * 2;
        let wrote = |items: Vec<u64>| Versioned { version, items };
        let (next, operation) = match random.below(4) {
            0 => (Some(wrote(vec![item])), put("k", item, begun, ended, Outcome::Written(version))),
            1 => {
                let next = wrote(state.items.iter().copied().chain([item]).collect());
                (Some(next), append("k", item, begun, ended, Outcome::Written(version)))
            }
            2 if random.below(3) == 0 => {
                let (expected, refused) = (version + 1, Outcome::Refused(Some(state.version)));
                (None, put_if("k", expected, item, begun, ended, refused))
            }
            2 => {
                let written = put_if("k", state.version, item, begun, ended, Outcome::Written(version));
                (Some(wrote(vec![item])), written)
            }
            _ => (None, read("k", LINEAR, state.version, &state.items, begun, ended)),
        };
        if let Some(next) = next {
            log.push(Event { key: "k".to_owned(), state: next.clone() });
            state = next;
        }
        let lost_answer = operation.written().is_some() && random.below(10) == 0;
        history.push(if lost_answer { Operation { outcome: unknown(), ..operation } } else { operation });
    }
    (history, log)
}

#[test]
fn right_histories_pass_and_each_seeded_violation_is_found() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let (history, log) = right_history(&mut random, 150);
        assert!(check(&history, &log).is_clean(), "seed {seed}");

        // A read that began after a write was acknowledged, and saw the state before it.
        let stale = log.iter().zip(log.iter().skip(1)).nth(usize::try_from(random.below(50)).unwrap_or_default());
        let Some((before, after)) = stale else { continue };
        let Versioned { version, items } = &before.state;
        let acknowledged = |operation: &&Operation| operation.outcome == Outcome::Written(after.state.version);
        let Some(write) = history.iter().find(acknowledged) else { continue };
        let begun = write.ended_us + 1;
        let mut bad = history.clone();
        bad.push(read("k", LINEAR, *version, items, begun, begun + 1));
        assert!(!check(&bad, &log).is_clean(), "seed {seed}: the stale read of {version} is not found");
    }
}
