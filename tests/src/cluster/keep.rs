//! What a run leaves in a folder for whoever asks about a line of its table: each failure with its time, and the logs.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};

use super::{
    journal::Operation,
    report::Window,
    world::{NODES, World, name_of},
};

/// Writes `failures` and a log for each node and each NATS server into a folder.
pub fn keep(folder: &Path, world: &World, windows: &[Window], operations: &[Operation]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(folder.join("failures"), failures(windows, operations))?;
    for node in 0..NODES {
        fs::write(folder.join(format!("node-{}.log", name_of(node))), world.node(node).log())?;
    }
    world.bus.copy_logs(folder)
}

/// A line for each fault and each failure, in the order in which they began.
fn failures(windows: &[Window], operations: &[Operation]) -> String {
    let seconds = |us: u64| us as f64 / 1e6;
    let faults = windows.iter().map(|window| {
        let (name, end) = (window.kind.as_str(), seconds(window.ended_us));
        (window.begun_us, format!("-- {name}, well again at {end:.3}"))
    });
    let failed = operations.iter().filter_map(|operation| {
        let (node, end) = (name_of(operation.node), seconds(operation.ended_us));
        let what = format!("node {node}, until {end:.3}: {} of {:?}", operation.failure()?, operation.act);
        Some((operation.begun_us, what))
    });
    let mut lines: Vec<(u64, String)> = faults.chain(failed).collect();
    lines.sort();
    lines.iter().fold(String::new(), |mut text, (at_us, line)| {
        let _ = writeln!(text, "{:>9.3} {line}", seconds(*at_us));
        text
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cluster::{
        fault::Kind,
        journal::{Act, Outcome},
    };

    #[test]
    fn faults_and_failures_stand_in_the_order_in_which_they_began() {
        let window = Window { kind: Kind::KillNode, begun_us: 5_000, ended_us: 9_000, agreed_after: Duration::ZERO };
        let call = |begun_us, outcome| {
            let act = Act::Call { mark: "m".to_owned() };
            Operation { node: 1, act, begun_us, ended_us: begun_us + 1_000, outcome }
        };
        let late = call(6_000, Outcome::NotDone("refused".to_owned()));
        let early = call(2_000, Outcome::Unknown("stream_lost".to_owned()));
        let text = failures(&[window], &[late, call(3_000, Outcome::Called), early]);
        let begins: Vec<&str> = text.lines().map(|line| &line[..14]).collect();
        assert_eq!(begins, ["    0.002 node", "    0.005 -- k", "    0.006 node"]);
    }
}
