//! Everything that the server started, found and signalled.

use rustix::process::{Pid, Signal, kill_process};

/// Signals every descendant of this process. Whoever forks meanwhile is found the next time.
#[cfg(target_os = "linux")]
pub(super) fn signal_all(signal: Signal) {
    let own = rustix::process::getpid();
    for pid in descendants(own.as_raw_nonzero().get(), &all_parents()) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, signal);
        }
    }
}

/// Without a list of processes: the group, which the guard itself belongs to.
#[cfg(not(target_os = "linux"))]
pub(super) fn signal_all(signal: Signal) {
    let _ = rustix::process::kill_current_process_group(signal);
}

/// Pairs of a process and its parent.
#[cfg(target_os = "linux")]
fn all_parents() -> Vec<(i32, i32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read(entry.path().join("stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect()
}

/// The fourth field of `/proc/PID/stat`; the second one is a name that may hold anything, even `)`.
#[cfg(target_os = "linux")]
fn parent_in(stat: &[u8]) -> Option<i32> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end_of_name + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// All processes below `root`, `root` not included.
#[cfg(target_os = "linux")]
fn descendants(root: i32, parents: &[(i32, i32)]) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.remove(0);
    found
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_tree_below_a_process() {
        let parents = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 9)];
        assert_eq!(descendants(2, &parents), [3, 4]);
        assert_eq!(descendants(1, &parents), [2, 5, 3, 4]);
        assert_eq!(parent_in(b"12 (a) b) S 7 1 1"), Some(7));
        assert_eq!(parent_in(b"12 (a"), None);
    }
}
