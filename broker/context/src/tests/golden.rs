//! What a version of a command does is fixed for ever: nodes compare hashes of what they made of old logs.

use sha2::{Digest, Sha256};

use super::{
    append, delete, json, key,
    machine::{Shard, small},
    put, put_for, space,
};
use crate::{Operation, Quotas, Transaction, command::Body};

/// Of the view and the outcomes that the log of commands of version 1 makes. It never changes.
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
    assert_eq!(with_view(digest, &shard), DIGEST);
}

/// Of the view and the outcomes that the log of writes of version 2 makes. It never changes.
const ROOM_DIGEST: &str = "b6c272364493cc26046e5f44777fed5f69f136e288eddc2f7ce2864146714c61";

#[test]
fn an_old_log_of_writes_that_make_room_makes_what_it_made() {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    let mut shard = Shard::new(Quotas { spaces: 3, ..small() });
    let mut digest = Sha256::new();
    let mut done = Vec::new();
    // Version, hours since the entry before, limit of spaces.
    let log = [
        (1, 0, 3, "a", put("k", "1")),
        (1, 0, 3, "a", delete("k")),
        (1, 1, 3, "b", put("k", "1")),
        (1, 0, 3, "b", delete("k")),
        (1, 0, 3, "c", put("k", "1")),
        // It is not without keys for long enough, and then it is; then the next is not.
        (2, 22, 3, "d", put("k", "1")),
        (1, 1, 3, "d", put("k", "1")),
        (2, 0, 3, "d", put("k", "1")),
        (2, 0, 3, "e", put("k", "1")),
        // More than the limit that is lowered now, and then nobody goes.
        (2, 1, 1, "a", put("k", "2")),
        (2, 30, 1, "b", put("k", "2")),
        (2, 0, 1, "a", delete("k")),
        (2, 30, 3, "b", put("k", "2")),
    ];
    for (version, hours, spaces, name, operation) in log {
        shard.version = version;
        shard.time_ms += hours * HOUR_MS;
        let quotas = Quotas { spaces, ..shard.quotas };
        let outcome =
            shard.apply(&Body::Write { space: space(name), transaction: Transaction::one(operation), quotas });
        done.push(outcome.is_ok());
        digest.update(format!("{outcome:?}\n"));
    }
    let (yes, no) = (true, false);
    assert_eq!(done, [yes, yes, yes, yes, yes, no, no, yes, no, yes, no, yes, yes]);
    assert_eq!(with_view(digest, &shard), ROOM_DIGEST);
}

fn with_view(mut digest: Sha256, shard: &Shard) -> String {
    for (at, value) in &shard.memory.pairs {
        digest.update((at.len() as u64).to_be_bytes());
        digest.update(at);
        digest.update((value.len() as u64).to_be_bytes());
        digest.update(value);
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
