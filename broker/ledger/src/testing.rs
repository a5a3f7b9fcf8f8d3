//! For tests: a small machine, folders, and entries.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde::Deserialize;
use spanwire_mcp::Json;
use spanwire_model::{
    Applied, Author, Book, Command, Entry, Machine, NodeId, Refusal, RefusalReason, StoreError, ViewMut,
};
use uuid::Uuid;

use crate::{Durability, SledStore, applier::Logged, wire::Message};

/// Keys with values, counters, and conditions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TestMachine {
    pub(crate) version: u16,
    /// How far it counts at a time: 1, unless it is broken.
    pub(crate) step: u64,
}

/// The body of a command of [`TestMachine`].
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Body {
    /// Sets a key; with `if`, only when its value is that; with `absent`, only when it is not there.
    Put {
        key: String,
        value: String,
        #[serde(default, rename = "if")]
        expected: Option<String>,
        #[serde(default)]
        absent: bool,
    },
    /// Removes a key.
    Delete { key: String },
    /// Counts a key up, and answers with the number.
    Count { key: String },
    /// Sets two keys to the number of the entry.
    Pair { one: String, two: String },
    /// A value of so many bytes.
    Fill { key: String, bytes: usize },
    /// Changes something, and then refuses.
    Refuse { key: String },
    /// Panics.
    Panic,
}

impl Machine for TestMachine {
    fn version(&self) -> u16 {
        self.version
    }

    fn apply(&self, view: &mut dyn ViewMut, entry: &Entry) -> Result<Applied, StoreError> {
        let refuse = |reason, text: &str| Ok(Err(Refusal { reason, text: text.to_owned(), data: None }));
        let Ok(body) = entry.command.body.read::<Body>() else {
            return refuse(RefusalReason::Invalid, "not a body");
        };
        let done = |text: String| Ok(Ok(Json::from_trusted(text)));
        match body {
            Body::Put { key, value, expected, absent } => {
                let there = view.get(key.as_bytes())?.map(|value| String::from_utf8(value).unwrap());
                if expected.is_some_and(|expected| Some(expected) != there) || (absent && there.is_some()) {
                    return refuse(RefusalReason::Conflict, "another value is there");
                }
                view.put(key.into_bytes(), value.into_bytes());
                done(entry.sequence.to_string())
            }
            Body::Delete { key } => {
                view.delete(key.as_bytes());
                done("null".to_owned())
            }
            Body::Count { key } => {
                let there = view.get(key.as_bytes())?.and_then(|value| String::from_utf8(value).ok()?.parse().ok());
                let next = there.unwrap_or(0_u64) + self.step;
                view.put(key.into_bytes(), next.to_string().into_bytes());
                done(next.to_string())
            }
            Body::Pair { one, two } => {
                view.put(one.into_bytes(), entry.sequence.to_string().into_bytes());
                view.put(two.into_bytes(), entry.sequence.to_string().into_bytes());
                done(entry.sequence.to_string())
            }
            Body::Fill { key, bytes } => {
                view.put(key.into_bytes(), vec![b'x'; bytes]);
                done(bytes.to_string())
            }
            Body::Refuse { key } => {
                view.put(key.into_bytes(), b"never".to_vec());
                refuse(RefusalReason::Quota, "as asked")
            }
            Body::Panic => panic!("as asked"),
        }
    }
}

pub(crate) type Machines = BTreeMap<Book, Arc<dyn Machine>>;

pub(crate) fn machines(version: u16) -> Machines {
    all_of(TestMachine { version, step: 1 })
}

/// Machines that do not do what all others do.
pub(crate) fn broken_machines(version: u16) -> Machines {
    all_of(TestMachine { version, step: 2 })
}

fn all_of(machine: TestMachine) -> Machines {
    Book::ALL.into_iter().map(|book| (book, Arc::new(machine) as Arc<dyn Machine>)).collect()
}

/// The store in a folder, as soon as whoever had it has given it up.
pub(crate) async fn open(folder: &Path) -> SledStore {
    for _ in 0..100_000 {
        match SledStore::open_with(folder, Durability::Process) {
            Ok(store) => return store,
            Err(_) => tokio::task::yield_now().await,
        }
    }
    SledStore::open_with(folder, Durability::Process).unwrap()
}

pub(crate) fn command(operation: u128, body: &str) -> Command {
    let node: NodeId = "left".parse().unwrap();
    Command {
        operation: Uuid::from_u128(operation),
        version: 1,
        author: Author { principal: "ann".into(), node, call: None, trace: None },
        body: Json::from_trusted(body.to_owned()),
    }
}

pub(crate) fn put(key: &str, value: &str) -> String {
    format!(r#"{{"do":"put","key":"{key}","value":"{value}"}}"#)
}

/// An entry, with an operation of its own.
pub(crate) fn logged(sequence: u64, body: &str) -> Logged {
    let payload = Message::of(command(u128::from(sequence), body)).encode();
    Logged { sequence, time_ms: 1_000 + sequence, payload }
}
