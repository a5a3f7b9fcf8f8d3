//! What a process has used, from `/proc` (Linux, proc(5)).

use std::fs;

use anyhow::Context;

/// The unit of the times in `/proc/PID/stat`: USER_HZ is 100 on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time so far and memory now, of one process or a sum of some.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// User and system time of all threads, in seconds. Its resolution is 0.01.
    pub(super) cpu_seconds: f64,
    /// Resident memory (VmRSS) in KiB.
    pub(super) resident_kib: u64,
}

impl Usage {
    /// Of a running process.
    pub(super) fn of(pid: u32) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let cpu_seconds = cpu_seconds(&read("stat")?).with_context(|| format!("/proc/{pid}/stat has no times"))?;
        let resident_kib =
            resident_kib(&read("status")?).with_context(|| format!("/proc/{pid}/status has no VmRSS"))?;
        Ok(Self { cpu_seconds, resident_kib })
    }
}

impl std::ops::Add for Usage {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds + other.cpu_seconds, resident_kib: self.resident_kib + other.resident_kib }
    }
}

/// Fields 14 and 15. The second field is the program's name in parentheses and may hold anything, so count from its end.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut rest = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || rest.next()?.parse::<u64>().ok();
    let (user, system) = (ticks()?, ticks()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

fn resident_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn fields_are_counted_from_the_end_of_the_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 9 9 20 0 1 0 100 1 1";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (x"), None);
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(Usage::of(std::process::id()).unwrap().resident_kib > 0);
        assert_eq!(resident_kib("Name:\tx\nVmRSS:\t    1234 kB\n"), Some(1234));
    }
}
