//! The machine against what it should do, said in the simplest way: random transactions on a few keys under small quotas.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use spanwire_mcp::Json;
use spanwire_model::{Entry, RefusalReason};

use super::{append, delete, json, key, machine::Shard, memory::Memory, put, put_for, space};
use crate::{
    Condition, ContextMachine, EventKind, Expect, Key, Operation, Quotas, Transaction,
    command::{Body, Dropped, Expired, Outcome},
    layout::{self, EventRecord, MetaRecord, SpaceRecord},
    reads,
};

const QUOTAS: Quotas =
    Quotas { value_bytes: 24, keys: 3, bytes: 60, log_events: 6, log_bytes: 1_000_000, spaces: 4, operations: 4 };

/// What should be there.
#[derive(Debug, Clone, Default)]
struct Spec {
    keys: BTreeMap<String, (String, u64, Option<u64>)>,
    log: Vec<(u64, EventKind, Option<String>)>,
    is_there: bool,
}

type Refused = RefusalReason;

impl Spec {
    fn write(&mut self, sequence: u64, time_ms: u64, transaction: &Transaction) -> Result<(), Refused> {
        let before = self.clone();
        self.try_write(sequence, time_ms, transaction).inspect_err(|_| *self = before)
    }

    fn try_write(&mut self, sequence: u64, time_ms: u64, transaction: &Transaction) -> Result<(), Refused> {
        let names: BTreeSet<_> = transaction.operations.iter().map(Operation::key).collect();
        if names.len() < transaction.operations.len() {
            return Err(Refused::Invalid);
        }
        for Condition { key, is } in &transaction.conditions {
            let version = self.keys.get(key.as_str()).map(|(_, version, _)| *version);
            let holds = match is {
                Expect::Absent => version.is_none(),
                Expect::Exists => version.is_some(),
                Expect::Version(wanted) => version == Some(*wanted),
            };
            if !holds {
                return Err(Refused::Conflict);
            }
        }
        let had = (self.keys.len(), self.bytes());
        let mut happened = false;
        for operation in &transaction.operations {
            let name = operation.key().as_str().to_owned();
            let old = self.keys.get(&name).cloned();
            let (value, due, kind) = match operation {
                Operation::Put { value, ttl_ms, .. } => {
                    (value.as_str().to_owned(), ttl_ms.map(|ttl_ms| time_ms + ttl_ms), EventKind::Put)
                }
                Operation::PatchMerge { patch, .. } => {
                    let mut value = old.as_ref().map_or(serde_json::Value::Null, |old| json(&old.0).to_value());
                    json_patch::merge(&mut value, &patch.to_value());
                    (value.to_string(), old.and_then(|old| old.2), EventKind::Patch)
                }
                Operation::PatchJson { patch, .. } => {
                    let mut value = old.as_ref().map(|old| json(&old.0).to_value()).ok_or(Refused::Conflict)?;
                    let patch = serde_json::from_value::<json_patch::Patch>(patch.to_value()).unwrap();
                    json_patch::patch(&mut value, &patch).map_err(|_| Refused::Conflict)?;
                    (value.to_string(), old.and_then(|old| old.2), EventKind::Patch)
                }
                Operation::Append { values, .. } => {
                    let array = old.as_ref().map_or("[]", |old| old.0.as_str());
                    let serde_json::Value::Array(mut array) = json(array).to_value() else {
                        return Err(Refused::Conflict);
                    };
                    array.extend(values.iter().map(Json::to_value));
                    let text = serde_json::Value::Array(array).to_string();
                    (text, old.and_then(|old| old.2), EventKind::Append)
                }
                Operation::Delete { .. } => {
                    if self.keys.remove(&name).is_some() {
                        self.log.push((sequence, EventKind::Delete, Some(name)));
                        happened = true;
                    }
                    continue;
                }
            };
            if value.len() as u64 > QUOTAS.value_bytes {
                return Err(Refused::Quota);
            }
            self.keys.insert(name.clone(), (value, sequence, due));
            self.log.push((sequence, kind, Some(name)));
            happened = true;
        }
        let has = (self.keys.len(), self.bytes());
        if (has.0 as u64 > QUOTAS.keys && has.0 > had.0) || (has.1 as u64 > QUOTAS.bytes && has.1 > had.1) {
            return Err(Refused::Quota);
        }
        self.is_there |= happened;
        self.forget();
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.keys.iter().map(|(key, value)| key.len() + value.0.len()).sum()
    }

    fn forget(&mut self) {
        while self.log.len() as u64 > QUOTAS.log_events {
            let first = self.log[0].0;
            self.log.retain(|event| event.0 != first);
        }
    }

    fn expire(&mut self, sequence: u64, time_ms: u64) -> u64 {
        let mut due: Vec<_> = self
            .keys
            .iter()
            .filter_map(|(key, value)| Some((value.2.filter(|due| *due <= time_ms)?, key.clone())))
            .collect();
        due.sort();
        for (_, key) in &due {
            self.keys.remove(key);
            self.log.push((sequence, EventKind::Expire, Some(key.clone())));
        }
        self.forget();
        due.len() as u64
    }

    fn drop(&mut self, sequence: u64) -> Option<u64> {
        let keys = self.is_there.then_some(self.keys.len() as u64)?;
        *self = Self { log: vec![(sequence, EventKind::Drop, None)], ..Self::default() };
        Some(keys)
    }
}

/// What is counted must be what is there.
fn check_counts(memory: &Memory) {
    let name = space("s");
    let record: SpaceRecord = reads::space_record(memory, &name).unwrap().unwrap_or_default();
    let under = |prefix: Vec<u8>| memory.pairs.iter().filter(move |(at, _)| at.starts_with(&prefix));
    let metas: Vec<(Key, MetaRecord)> = under(layout::meta(&name, ""))
        .map(|(at, meta)| (layout::name_after(at, b"m/s/").unwrap(), layout::decode(meta).unwrap()))
        .collect();
    assert_eq!(record.keys, metas.len() as u64);
    let bytes: u64 = metas.iter().map(|(key, meta)| key.as_str().len() as u64 + meta.bytes).sum();
    assert_eq!(record.bytes, bytes);
    for (key, meta) in &metas {
        let value = reads::value(memory, &name, key).unwrap().unwrap();
        assert_eq!(value.len() as u64, meta.bytes);
        assert_eq!(meta.length.unwrap_or(value.elements().count() as u64), value.elements().count() as u64);
    }
    let dues: BTreeSet<_> = under(layout::DUES.to_vec()).map(|(at, _)| layout::due_of(at).unwrap()).collect();
    let wanted: BTreeSet<_> =
        metas.iter().filter_map(|(key, meta)| Some((meta.due_ms?, name.clone(), key.clone()))).collect();
    assert_eq!(dues, wanted);
    assert_eq!(record.events, under(layout::events(&name)).count() as u64);
    assert_eq!(record.log_bytes, under(layout::events(&name)).map(|(_, event)| event.len() as u64).sum::<u64>());
    let versions: BTreeSet<_> = under(b"v/".to_vec()).map(|(at, _)| at.clone()).collect();
    let wanted: BTreeSet<_> = under(layout::events(&name))
        .filter_map(|(at, event)| {
            let (sequence, index) = layout::number_of(at).unwrap();
            let key = layout::decode::<EventRecord>(event).unwrap().key?;
            Some(layout::version(&name, &key, sequence, index))
        })
        .collect();
    assert_eq!(versions, wanted);
    assert!(memory.count("k/") == record.keys);
}

#[derive(Debug, Clone)]
enum Step {
    Write(Transaction),
    Expire(u64),
    Drop,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "c/d", "e"])
}

fn operation() -> impl Strategy<Value = Operation> {
    let value = || prop::sample::select(vec!["1", "[]", "[1]", r#"{"a":1}"#, r#""0123456789abcdef""#, "{}"]);
    let merge = prop::sample::select(vec![r#"{"a":null}"#, r#"{"a":[2]}"#, "7", r#"{"b":{"c":null}}"#]);
    let steps = prop::sample::select(vec![
        "[]",
        r#"[{"op":"add","path":"/a","value":2}]"#,
        r#"[{"op":"remove","path":"/a"}]"#,
        r#"[{"op":"test","path":"/a","value":1},{"op":"replace","path":"/a","value":"x"}]"#,
    ]);
    prop_oneof![
        4 => (name(), value()).prop_map(|(name, value)| put(name, value)),
        2 => (name(), value(), 1_u64..40).prop_map(|(name, value, ttl_ms)| put_for(name, value, ttl_ms)),
        2 => (name(), merge).prop_map(|(name, patch)| Operation::PatchMerge { key: key(name), patch: json(patch) }),
        2 => (name(), steps).prop_map(|(name, patch)| Operation::PatchJson { key: key(name), patch: json(patch) }),
        3 => (name(), prop::collection::vec(prop::sample::select(vec!["1", "\"xyz\""]), 1..3))
            .prop_map(|(name, values)| append(name, &values)),
        2 => name().prop_map(delete),
    ]
}

fn condition() -> impl Strategy<Value = Condition> {
    let is = prop_oneof![Just(Expect::Absent), Just(Expect::Exists), (1_u64..30).prop_map(Expect::Version)];
    (name(), is).prop_map(|(name, is)| Condition { key: key(name), is })
}

fn step() -> impl Strategy<Value = Step> {
    let write = (prop::collection::vec(condition(), 0..2), prop::collection::vec(operation(), 1..4));
    prop_oneof![
        12 => write.prop_map(|(conditions, operations)| Step::Write(Transaction { conditions, operations })),
        3 => (0_u64..30).prop_map(Step::Expire),
        1 => Just(Step::Drop),
    ]
}

proptest! {
    #[test]
    fn the_machine_does_what_is_specified(steps in prop::collection::vec(step(), 1..60)) {
        let mut shard = Shard::new(QUOTAS);
        let mut spec = Spec::default();
        let mut entries: Vec<Entry> = Vec::new();
        for step in steps {
            let body = match &step {
                Step::Write(transaction) => {
                    Body::Write { space: space("s"), transaction: transaction.clone(), quotas: QUOTAS }
                }
                Step::Expire(later_ms) => {
                    shard.time_ms += later_ms;
                    Body::Expire { limit: 100, quotas: QUOTAS }
                }
                Step::Drop => Body::Drop { space: space("s") },
            };
            let entry = shard.entry(&body);
            let applied = shard.memory.apply(&ContextMachine, &entry);
            let (sequence, time_ms) = (entry.sequence, entry.time_ms);
            entries.push(entry);
            match step {
                Step::Write(transaction) => {
                    let expected = spec.write(sequence, time_ms, &transaction);
                    prop_assert_eq!(applied.as_ref().map(|_| ()).map_err(|refusal| refusal.reason), expected);
                    if let Ok(outcome) = applied {
                        prop_assert_eq!(outcome.read::<Outcome>().unwrap().done.len(), transaction.operations.len());
                    }
                }
                Step::Expire(_) => {
                    let expired = applied.unwrap().read::<Expired>().unwrap().expired;
                    prop_assert_eq!(expired, spec.expire(sequence, time_ms));
                }
                Step::Drop => {
                    let dropped = applied.unwrap().read::<Dropped>().unwrap().keys;
                    prop_assert_eq!(dropped, spec.drop(sequence));
                }
            }
            let items = reads::snapshot(&shard.memory, &space("s"), "", u64::MAX, &|_| true).unwrap().unwrap();
            let items: Vec<_> = items.into_iter().map(|item| {
                (item.key.to_string(), (item.value.unwrap().to_value(), item.version, item.due_ms))
            }).collect();
            let wanted: Vec<_> = spec.keys.iter().map(|(key, (value, version, due))| {
                (key.clone(), (json(value).to_value(), *version, *due))
            }).collect();
            prop_assert_eq!(items, wanted);
            let log: Vec<_> = shard.log(&space("s")).into_iter().map(|(sequence, kind, key, _)| (sequence, kind, key)).collect();
            prop_assert_eq!(&log, &spec.log);
            check_counts(&shard.memory);
        }
        // The same log makes the same view, byte for byte.
        let mut again = Memory::default();
        for entry in &entries {
            let _ = again.apply(&ContextMachine, entry);
        }
        prop_assert_eq!(again.pairs, shard.memory.pairs);
    }
}
