//! The ledger of a node alone is killed while it writes, again and again, in one folder.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use spanwire_ledger::Durability;
use spanwire_model::Store;
use spanwire_tests::{
    cluster::random::Random,
    ledger_writer::{self, Found, WRITERS, open},
};

/// Times that the process is killed.
const ROUNDS: u32 = 50;

/// Most acknowledgements that are waited for in one round.
const MOST_ACKS: u64 = 150;

/// What was acknowledged: the entry of each write, by writer and count.
type Acknowledged = BTreeMap<(u32, u64), u64>;

struct Writer(Child);

impl Writer {
    fn start(folder: &Path, durability: Durability) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_spanwire-fault-server"));
        let durability = if durability == Durability::Disk { "disk" } else { "process" };
        command.arg("--ledger").arg(folder).arg(durability);
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Reads so many acknowledgements, kills the process, and reads what it still managed to say.
    fn kill_after(mut self, acks: u64, acknowledged: &mut Acknowledged) {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        for line in lines.by_ref().take(usize::try_from(acks).unwrap()) {
            note(&line.unwrap(), acknowledged);
        }
        self.0.kill().unwrap();
        for line in lines {
            note(&line.unwrap(), acknowledged);
        }
        let status = self.0.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it ended by itself: {status}");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn note(line: &str, acknowledged: &mut Acknowledged) {
    let parts: Vec<u64> = line.split(' ').map(|part| part.parse().unwrap()).collect();
    let [writer, count, sequence] = parts[..] else { panic!("{line}") };
    let before = acknowledged.insert((u32::try_from(writer).unwrap(), count), sequence);
    assert_eq!(before, None, "a write is acknowledged once: {line}");
}

/// What every reopened ledger must hold.
fn check(found: &Found, acknowledged: &Acknowledged, round: u32) {
    for (write, sequence) in acknowledged {
        assert_eq!(found.writes.get(write), Some(sequence), "round {round}: an acknowledged write");
    }
    // Each entry wrote one key, so the entries that were written are all there were: none lost, none twice, none in between.
    let mut sequences: Vec<u64> = found.writes.values().copied().collect();
    sequences.sort_unstable();
    assert_eq!(sequences, Vec::from_iter(1..=found.applied), "round {round}");
    for writer in 0..WRITERS {
        let count = found.counts.get(&writer).copied().unwrap_or(0);
        let own = |(other, count): &&(u32, u64)| (*other == writer).then_some(*count);
        let last = acknowledged.keys().rev().find_map(|write| own(&write)).unwrap_or(0);
        assert!((last..=last + ROUNDS as u64).contains(&count), "round {round}: writer {writer} is at {count}");
        assert!((1..=count).all(|count| found.writes.contains_key(&(writer, count))), "round {round}: {writer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_in_a_write_loop_lose_no_acknowledged_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(4);
    let mut acknowledged = Acknowledged::new();
    for round in 1..=ROUNDS {
        let durability = if round % 2 == 0 { Durability::Disk } else { Durability::Process };
        // Now and then it is killed while it still opens.
        let acks = if round % 7 == 0 { 0 } else { random.below(MOST_ACKS) };
        Writer::start(folder.path(), durability).kill_after(acks, &mut acknowledged);
        let (ledger, store) = open(folder.path(), Durability::Process).await.unwrap();
        let found = ledger_writer::found(&ledger).unwrap();
        check(&found, &acknowledged, round);
        for ((_, count), sequence) in acknowledged.iter().filter(|((writer, _), _)| *writer == 0) {
            let own = store.get(&ledger_writer::own_key(*count)).unwrap();
            assert_eq!(own, Some(sequence.to_string().into_bytes()), "round {round}: the node's own state");
        }
        // Whoever asks again is told the same.
        if let Some(((writer, count), sequence)) = acknowledged.iter().max_by_key(|(_, sequence)| **sequence) {
            assert_eq!(ledger_writer::write(&ledger, *writer, *count).await.unwrap(), *sequence);
        }
    }
    assert!(acknowledged.len() > 1_000, "it did write: {}", acknowledged.len());
}
