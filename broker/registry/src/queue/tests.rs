#![allow(clippy::unwrap_used, clippy::panic)]

use std::{future::Future, pin::Pin, task::Poll};

use futures::poll;
use proptest::prelude::*;

use super::*;

type Asking = Pin<Box<dyn Future<Output = Result<Slot, Refused>> + Send>>;

fn who(n: usize) -> Arc<str> {
    format!("p{n}").into()
}

fn ask(gate: &Arc<Gate>, principal: usize) -> Asking {
    let (gate, principal) = (gate.clone(), who(principal));
    Box::pin(async move { gate.slot(&principal).await })
}

#[tokio::test]
async fn principals_take_turns() {
    let gate = Arc::new(Gate::new(1, 100));
    let mut running = gate.slot(&who(9)).await.unwrap();
    let mut waiting = Vec::new();
    // One that sends much, one that sends little and later, one that comes last.
    for principal in [0, 0, 0, 0, 1, 1, 2] {
        let mut asking = ask(&gate, principal);
        assert!(poll!(&mut asking).is_pending());
        waiting.push((principal, asking));
    }
    let mut order = Vec::new();
    while !waiting.is_empty() {
        drop(running);
        let mut next = None;
        for (at, (principal, asking)) in waiting.iter_mut().enumerate() {
            if let Poll::Ready(slot) = poll!(asking) {
                assert!(next.is_none(), "one at a time");
                next = Some((at, *principal, slot.unwrap()));
            }
        }
        let (at, principal, slot) = next.unwrap();
        drop(waiting.remove(at));
        order.push(principal);
        running = slot;
    }
    assert_eq!(order, [0, 1, 2, 0, 1, 0, 0]);
}

#[tokio::test]
async fn one_principal_leaves_room_for_others() {
    let gate = Arc::new(Gate::new(1, 4));
    let _running = gate.slot(&who(0)).await.unwrap();
    let mut waiting: Vec<Asking> = [0, 0].into_iter().map(|principal| ask(&gate, principal)).collect();
    for asking in &mut waiting {
        assert!(poll!(asking).is_pending());
    }
    assert_eq!(ask(&gate, 0).await.unwrap_err(), Refused::Share { waiting: 2, places: 4 });
    for principal in [1, 2] {
        let mut asking = ask(&gate, principal);
        assert!(poll!(&mut asking).is_pending());
        waiting.push(asking);
    }
    assert_eq!(ask(&gate, 3).await.unwrap_err(), Refused::Full { running: 1, waiting: 4 });
    assert_eq!(gate.load(), 5);
    drop(waiting);
    assert_eq!(gate.load(), 1);
}

#[tokio::test]
async fn a_slot_that_is_granted_to_one_who_gave_up_goes_on() {
    let gate = Arc::new(Gate::new(1, 10));
    let running = gate.slot(&who(0)).await.unwrap();
    let (mut first, mut second) = (ask(&gate, 0), ask(&gate, 1));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    drop(running);
    // The grant is under way, and nobody takes it.
    drop(first);
    assert!(matches!(poll!(&mut second), Poll::Ready(Ok(_))));
    drop(second);
    assert_eq!(gate.load(), 0);
    gate.idle().await;
}

#[derive(Debug, Clone)]
enum Step {
    Come(usize),
    /// One of those who wait gives up.
    GiveUp(usize),
    /// One that runs ends.
    End(usize),
}

const PRINCIPALS: usize = 4;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..PRINCIPALS).prop_map(Step::Come),
        1 => any::<usize>().prop_map(Step::GiveUp),
        2 => any::<usize>().prop_map(Step::End),
    ];
    prop::collection::vec(step, 1..200)
}

/// One principal that waits, with how many were let in before it since it came or was last let in.
fn passed_over(waits: &[(usize, Asking)], passed: &mut [usize; PRINCIPALS], let_in: usize) {
    for (principal, passed) in passed.iter_mut().enumerate() {
        let waiting = principal != let_in && waits.iter().any(|(other, _)| *other == principal);
        *passed = if waiting { *passed + 1 } else { 0 };
        assert!(*passed < PRINCIPALS, "{principal} starves");
    }
}

async fn run(steps: Vec<Step>, max_running: usize, max_waiting: usize) {
    let gate = Arc::new(Gate::new(max_running, max_waiting));
    let (mut runs, mut waits): (Vec<Slot>, Vec<(usize, Asking)>) = (Vec::new(), Vec::new());
    let mut passed = [0; PRINCIPALS];
    let share = (max_waiting / 2).max(1);
    for step in steps {
        match step {
            Step::Come(principal) => {
                let mut asking = ask(&gate, principal);
                match poll!(&mut asking) {
                    Poll::Ready(Ok(slot)) => runs.push(slot),
                    Poll::Ready(Err(refused)) => {
                        let own = waits.iter().filter(|(other, _)| *other == principal).count();
                        assert!(
                            waits.len() == max_waiting || own == share,
                            "{refused:?} with {own} of {}",
                            waits.len()
                        );
                    }
                    Poll::Pending => waits.push((principal, asking)),
                }
            }
            Step::GiveUp(at) if !waits.is_empty() => drop(waits.remove(at % waits.len())),
            Step::End(at) if !runs.is_empty() => drop(runs.remove(at % runs.len())),
            Step::GiveUp(_) | Step::End(_) => {}
        }
        let mut at = 0;
        while at < waits.len() {
            if let Poll::Ready(slot) = poll!(&mut waits[at].1) {
                let (principal, _) = waits.remove(at);
                runs.push(slot.unwrap());
                passed_over(&waits, &mut passed, principal);
            } else {
                at += 1;
            }
        }
        for (principal, passed) in passed.iter_mut().enumerate() {
            // One that gave up begins anew, behind the others.
            if waits.iter().all(|(other, _)| *other != principal) {
                *passed = 0;
            }
        }
        assert!(runs.len() <= max_running && waits.len() <= max_waiting);
        assert!(waits.is_empty() || runs.len() == max_running, "somebody waits beside a free place");
        assert_eq!((gate.running(), gate.load()), (runs.len(), runs.len() + waits.len()));
        for principal in 0..PRINCIPALS {
            assert!(waits.iter().filter(|(other, _)| *other == principal).count() <= share);
        }
    }
    drop((runs, waits));
    assert_eq!(gate.load(), 0, "a place was lost");
    let state = gate.state();
    assert!(state.lines.is_empty() && state.turns.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nobody_starves_bounds_hold_and_no_place_is_lost(steps in steps(), running in 1_usize..4, waiting in 1_usize..9) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps, running, waiting));
    }
}
