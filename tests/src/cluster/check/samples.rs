//! Short ways to write histories.

use crate::cluster::journal::{Act, Event, Level, Operation, Outcome, Versioned};

pub(super) fn operation(act: Act, begun_us: u64, ended_us: u64, outcome: Outcome) -> Operation {
    Operation { node: 0, act, begun_us, ended_us, outcome }
}

pub(super) fn append(key: &str, item: u64, begun: u64, ended: u64, outcome: Outcome) -> Operation {
    operation(Act::Append { key: key.to_owned(), item }, begun, ended, outcome)
}

pub(super) fn put(key: &str, item: u64, begun: u64, ended: u64, outcome: Outcome) -> Operation {
    operation(Act::Put { key: key.to_owned(), item }, begun, ended, outcome)
}

pub(super) fn put_if(key: &str, expected: u64, item: u64, begun: u64, ended: u64, outcome: Outcome) -> Operation {
    operation(Act::PutIf { key: key.to_owned(), item, expected }, begun, ended, outcome)
}

pub(super) fn read(key: &str, level: Level, version: u64, items: &[u64], begun: u64, ended: u64) -> Operation {
    let outcome = Outcome::Read(Versioned { version, items: items.to_vec() });
    operation(Act::Read { key: key.to_owned(), level }, begun, ended, outcome)
}

pub(super) fn event(key: &str, version: u64, items: &[u64]) -> Event {
    Event { key: key.to_owned(), state: Versioned { version, items: items.to_vec() } }
}
