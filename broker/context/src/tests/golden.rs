//! What version 1 of a command does is fixed for ever: nodes compare hashes of what they made of old logs.

use sha2::{Digest, Sha256};

use super::{
    append, delete, json, key,
    machine::{Shard, small},
    put, put_for, space,
};
use crate::{Operation, Quotas, Transaction, command::Body};

/// Of the view and the outcomes that the log below makes. It never changes.
const DIGEST: &str = "c8b86e107045396a41600362124da3722437b86b7356832e7f7b3ae4d6d9c302";

#[test]
fn an_old_log_makes_what_it_made() {
    let mut shard = Shard::new(Quotas { bytes: 200, spaces: 3, ..small() });
    let mut digest = Sha256::new();
    let write = |name: &str, operation: Operation, quotas: Quotas| Body::Write {
        space: space(name),
        transaction: Transaction::one(operation),
        quotas,
    };
    let quotas = shard.quotas;
    let merge = Operation::PatchMerge { key: key("a"), patch: json(r#"{"n":1.10}"#) };
    let steps = Operation::PatchJson { key: key("a"), patch: json(r#"[{"op":"add","path":"/m","value":[2]}]"#) };
    let log = [
        write("s", put("a", "{}"), quotas),
        write("s", merge, quotas),
        write("s", steps, quotas),
        write("s", append("l", &["1", "null"]), quotas),
        write("s", put("l", "{}"), quotas),
        write("s", append("l", &["1"]), quotas),
        write("brief", put_for("k", "1", 5), quotas),
        write("empty", put("k", "1"), quotas),
        write("empty", delete("k"), quotas),
        Body::Expire { limit: 10, quotas },
        write("more", put("k", "1"), quotas),
        Body::Drop { space: space("s") },
        Body::Drop { space: space("none") },
        write("more", put("k", "1"), quotas),
        write("s", put("a", "7"), quotas),
        Body::Drop { space: space("more") },
        write("s", put("again", "7"), quotas),
        write("s", put("large", &format!("\"{}\"", "x".repeat(30))), quotas),
    ];
    for body in &log {
        shard.time_ms += 3;
        let outcome = shard.apply(body);
        digest.update(format!("{outcome:?}\n"));
    }
    for (at, value) in &shard.memory.pairs {
        digest.update((at.len() as u64).to_be_bytes());
        digest.update(at);
        digest.update((value.len() as u64).to_be_bytes());
        digest.update(value);
    }
    let digest: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(digest, DIGEST);
}
