//! Random histories, with crashes in them, against a model.

use std::collections::BTreeMap;

use proptest::{
    collection::vec,
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};

use super::*;
use crate::testing::{command, put};

#[derive(Debug, Clone)]
enum Action {
    Put {
        key: u8,
        value: u16,
    },
    PutIf {
        key: u8,
        value: u16,
        expected: u16,
    },
    Delete {
        key: u8,
    },
    Count {
        key: u8,
    },
    Fill {
        key: u8,
        bytes: usize,
    },
    Refuse {
        key: u8,
    },
    /// The operation so many before, again.
    Again {
        before: usize,
    },
    /// Some at once, and the ledger is dropped under them; then they are asked for again.
    Crash {
        commands: u8,
    },
}

fn action() -> impl Strategy<Value = Action> {
    let key = 0..6_u8;
    prop_oneof![
        4 => (key.clone(), 0..4_u16).prop_map(|(key, value)| Action::Put { key, value }),
        4 => (key.clone(), 0..4_u16, 0..4_u16).prop_map(|(key, value, expected)| Action::PutIf { key, value, expected }),
        2 => key.clone().prop_map(|key| Action::Delete { key }),
        2 => key.clone().prop_map(|key| Action::Count { key }),
        1 => (key.clone(), 0..200_000_usize).prop_map(|(key, bytes)| Action::Fill { key, bytes }),
        1 => key.prop_map(|key| Action::Refuse { key }),
        2 => (1..20_usize).prop_map(|before| Action::Again { before }),
        1 => (0..5_u8).prop_map(|commands| Action::Crash { commands }),
    ]
}

/// The machine, once more, in the simplest way.
#[derive(Default)]
struct Model {
    keys: BTreeMap<String, String>,
}

impl Model {
    /// The command's body, and whether it is to be done.
    fn apply(&mut self, action: &Action) -> (String, bool) {
        let mut set = |key: &u8, value: String| drop(self.keys.insert(format!("k{key}"), value));
        match action {
            Action::Put { key, value } => {
                set(key, value.to_string());
                (put(&format!("k{key}"), &value.to_string()), true)
            }
            Action::PutIf { key, value, expected } => {
                let holds = self.keys.get(&format!("k{key}")) == Some(&expected.to_string());
                if holds {
                    self.keys.insert(format!("k{key}"), value.to_string());
                }
                (format!(r#"{{"do":"put","key":"k{key}","value":"{value}","if":"{expected}"}}"#), holds)
            }
            Action::Delete { key } => {
                self.keys.remove(&format!("k{key}"));
                (format!(r#"{{"do":"delete","key":"k{key}"}}"#), true)
            }
            Action::Count { key } => {
                let there: u64 = self.keys.get(&format!("k{key}")).and_then(|value| value.parse().ok()).unwrap_or(0);
                self.keys.insert(format!("k{key}"), (there + 1).to_string());
                (format!(r#"{{"do":"count","key":"k{key}"}}"#), true)
            }
            Action::Fill { key, bytes } => {
                set(key, "x".repeat(*bytes));
                (format!(r#"{{"do":"fill","key":"k{key}","bytes":{bytes}}}"#), true)
            }
            Action::Refuse { key } => (format!(r#"{{"do":"refuse","key":"k{key}"}}"#), false),
            Action::Again { .. } | Action::Crash { .. } => unreachable!("they are no commands"),
        }
    }
}

pub(crate) async fn any_history_is_kept<F: Factory>() {
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..F::CASES {
        let actions = vec(action(), 1..60).new_tree(&mut runner).unwrap().current();
        history::<F>(actions).await;
    }
}

async fn history<F: Factory>(actions: Vec<Action>) {
    let place = F::make().await;
    let mut ledger = Arc::new(place.open(1).await);
    let mut model = Model::default();
    let mut done: Vec<(Command, Receipt)> = Vec::new();
    let mut next = 0_u128;
    for action in &actions {
        match action {
            Action::Again { before } => {
                let Some((command, receipt)) = done.len().checked_sub(*before).and_then(|index| done.get(index)) else {
                    continue;
                };
                assert_eq!(append(&*ledger, command.clone()).await, *receipt, "{actions:?}");
            }
            Action::Crash { commands } => {
                let counts: Vec<Command> = (0..*commands)
                    .map(|_| {
                        next += 1;
                        command(next, &model.apply(&Action::Count { key: 0 }).0)
                    })
                    .collect();
                let running: Vec<_> = counts
                    .iter()
                    .map(|count| {
                        let (ledger, count) = (ledger.clone(), count.clone());
                        tokio::spawn(async move { ledger.append(Shard::REGISTRY, count, soon()).await })
                    })
                    .collect();
                tokio::task::yield_now().await;
                for task in running {
                    task.abort();
                    let _ = task.await;
                }
                drop(ledger);
                ledger = Arc::new(place.open(1).await);
                // Which of them got there, and in which order, is open; that each gets there once, is not.
                for count in counts {
                    let receipt = append(&*ledger, count.clone()).await;
                    done.push((count, receipt));
                }
            }
            Action::Put { .. }
            | Action::PutIf { .. }
            | Action::Delete { .. }
            | Action::Count { .. }
            | Action::Fill { .. }
            | Action::Refuse { .. } => {
                next += 1;
                let (body, applied) = model.apply(action);
                let command = command(next, &body);
                let receipt = append(&*ledger, command.clone()).await;
                assert_eq!(receipt.outcome.is_ok(), applied, "{action:?} of {actions:?}");
                done.push((command, receipt));
            }
        }
    }
    following(&*ledger, Shard::REGISTRY).await;
    let found = look(&*ledger, Shard::REGISTRY, |view| view.scan(b"", None, 100).unwrap()).0;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let found: BTreeMap<String, String> = found.into_iter().map(|(key, value)| (text(key), text(value))).collect();
    assert!(found == model.keys, "{actions:?}");
    // The same commands in the same order, without crashes, elsewhere.
    let status = following(&*ledger, Shard::REGISTRY).await;
    done.sort_by_key(|(_, receipt)| receipt.sequence);
    let contiguous = done.iter().zip(1..).all(|((_, receipt), sequence)| receipt.sequence == sequence);
    assert!(contiguous && status.applied == done.len() as u64, "{actions:?}");
    let elsewhere = F::make().await;
    let other = elsewhere.open(1).await;
    for (command, receipt) in done {
        assert_eq!(append(&other, command).await, receipt);
    }
    let other = following(&other, Shard::REGISTRY).await;
    assert_eq!((other.applied, other.hash), (status.applied, status.hash), "{actions:?}");
}
