//! The table of a run.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    check::Findings,
    fault::Kind,
    journal::{Act, Operation, Outcome},
};

/// The time of one fault, from its injection until all was well again.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// The fault.
    pub kind: Kind,
    /// When it was injected, in microseconds of the run.
    pub begun_us: u64,
    /// When everything that it took away was back.
    pub ended_us: u64,
    /// How long after it was undone all nodes had applied the same.
    pub agreed_after: Duration,
}

/// What a run found.
#[derive(Debug)]
pub struct Report {
    seed: u64,
    ground: String,
    lasted: Duration,
    rows: Vec<Row>,
    findings: Findings,
}

/// One kind of fault, or the time between faults.
#[derive(Debug, Default)]
struct Row {
    name: &'static str,
    times: usize,
    calls: usize,
    writes: usize,
    reads: usize,
    errors: BTreeMap<String, usize>,
    calls_away: Duration,
    writes_away: Duration,
    agreed_after: Duration,
    lost: usize,
    duplicated: usize,
}

impl Report {
    /// Operations are in the order in which they ended, as the findings mean them; `ground` says what the cluster stood on.
    pub fn new(
        seed: u64,
        ground: String,
        lasted: Duration,
        windows: &[Window],
        operations: &[Operation],
        findings: Findings,
    ) -> Self {
        let mut rows: BTreeMap<Option<Kind>, Row> = BTreeMap::new();
        for window in windows {
            let row = rows.entry(Some(window.kind)).or_default();
            row.times += 1;
            row.agreed_after = row.agreed_after.max(window.agreed_after);
            row.calls_away = row.calls_away.max(away(operations, window, |outcome| *outcome == Outcome::Called));
            let written = |outcome: &Outcome| matches!(outcome, Outcome::Written(_));
            row.writes_away = row.writes_away.max(away(operations, window, written));
        }
        for (index, operation) in operations.iter().enumerate() {
            let inside = |window: &&Window| (window.begun_us..=window.ended_us).contains(&operation.begun_us);
            let row = rows.entry(windows.iter().find(inside).map(|window| window.kind)).or_default();
            match operation.act {
                Act::Call { .. } => row.calls += 1,
                Act::Put { .. } | Act::PutIf { .. } | Act::Append { .. } => row.writes += 1,
                Act::Read { .. } => row.reads += 1,
            }
            if let Some(kind) = operation.failure() {
                *row.errors.entry(kind.to_owned()).or_default() += 1;
            }
            row.lost += usize::from(findings.lost.contains(&index));
            row.duplicated += usize::from(findings.doubled.contains(&index));
        }
        let named = |(kind, row): (Option<Kind>, Row)| Row { name: kind.map_or("none", Kind::as_str), ..row };
        Self { seed, ground, lasted, rows: rows.into_iter().map(named).collect(), findings }
    }

    /// True when nothing was lost, nothing duplicated and nothing else found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_clean()
    }
}

/// The longest time of a window in which nothing of a kind went well.
fn away(operations: &[Operation], window: &Window, well: impl Fn(&Outcome) -> bool) -> Duration {
    let mut last = window.begun_us;
    let mut longest = 0;
    let ends = operations.iter().filter(|operation| well(&operation.outcome)).map(|operation| operation.ended_us);
    let mut ends: Vec<u64> = ends.filter(|end| (window.begun_us..=window.ended_us).contains(end)).collect();
    ends.push(window.ended_us);
    ends.sort_unstable();
    for end in ends {
        longest = longest.max(end - last);
        last = end;
    }
    Duration::from_micros(longest)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}, {:.0} s, three nodes, three NATS servers", self.seed, self.lasted.as_secs_f64())?;
        writeln!(f, "{}", self.ground)?;
        writeln!(
            f,
            "away: the longest time in which no call (write) went well; agreed: all nodes equal after it was undone\n"
        )?;
        writeln!(
            f,
            "{:<30} {:>5} {:>7} {:>7} {:>7} {:>11} {:>12} {:>8} {:>5} {:>10}  errors",
            "fault", "times", "calls", "writes", "reads", "calls away", "writes away", "agreed", "lost", "duplicated"
        )?;
        for row in &self.rows {
            let errors: Vec<String> = row.errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            let seconds = |time: Duration| match row.times {
                0 => "-".to_owned(),
                _ => format!("{:.1} s", time.as_secs_f64()),
            };
            writeln!(
                f,
                "{:<30} {:>5} {:>7} {:>7} {:>7} {:>11} {:>12} {:>8} {:>5} {:>10}  {}",
                row.name,
                row.times,
                row.calls,
                row.writes,
                row.reads,
                seconds(row.calls_away),
                seconds(row.writes_away),
                seconds(row.agreed_after),
                row.lost,
                row.duplicated,
                if errors.is_empty() { "none".to_owned() } else { errors.join(", ") }
            )?;
        }
        write!(f, "\n{}", self.findings)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use super::*;

    fn call(at_us: u64, outcome: Outcome) -> Operation {
        let act = Act::Call { mark: at_us.to_string() };
        Operation { node: 0, act, begun_us: at_us, ended_us: at_us + 10, outcome }
    }

    #[test]
    fn operations_count_for_the_fault_in_whose_time_they_began() {
        let window = Window { kind: Kind::KillNode, begun_us: 1000, ended_us: 9000, agreed_after: Duration::ZERO };
        let operations = [
            call(500, Outcome::Called),
            call(1500, Outcome::Called),
            call(4000, Outcome::Unknown("stream_lost".to_owned())),
            call(7500, Outcome::Called),
        ];
        let findings = Findings { lost: vec![3], doubled: vec![0], wrong: vec!["w".to_owned()] };
        let report = Report::new(1, String::new(), Duration::ZERO, &[window], &operations, findings);
        assert!(!report.is_clean());
        let [none, killed] = &report.rows[..] else { panic!("{report}") };
        assert_eq!((none.name, none.calls, none.duplicated, none.times), ("none", 1, 1, 0));
        assert_eq!((killed.calls, killed.lost, killed.times), (3, 1, 1));
        assert_eq!(killed.calls_away, Duration::from_micros(6000));
        assert_eq!(killed.errors, BTreeMap::from([("stream_lost".to_owned(), 1)]));
        assert!(report.to_string().contains("stream_lost 1"));
    }
}
