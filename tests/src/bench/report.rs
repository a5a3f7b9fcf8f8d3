//! What a run found, as a table for people and as JSON for programs.

use std::{fmt, fs, thread};

use serde::Serialize;
use spanwire_mcp::Era;

use super::{
    deployment::Deployment,
    load::Sample,
    meter::Usage,
    plan::{self, Cell, Load, Setup},
};

/// All of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    profile: &'static str,
    machine: Machine,
    pub(super) starts: Vec<Start>,
    pub(super) rows: Vec<Row>,
    /// What could not be measured, and why.
    pub(super) missing: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Machine {
    cores: usize,
    cpu: String,
    kernel: String,
}

/// How a setup came up.
#[derive(Debug, Serialize)]
pub(super) struct Start {
    #[serde(flatten)]
    setup: Setup,
    /// From the start of the nodes to the first right answer.
    first_call_ms: f64,
    /// Resident memory of all nodes then.
    broker_resident_mib: Option<f64>,
}

/// One measurement.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    setup: Setup,
    era: &'static str,
    payload_bytes: usize,
    load: Load,
    calls: u64,
    errors: u64,
    first_error: Option<String>,
    seconds: f64,
    calls_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    p999_us: f64,
    max_us: f64,
    /// Processor seconds that all nodes together took for 1000 calls.
    broker_cpu_s_per_1000: Option<f64>,
    /// Resident memory of all nodes afterwards.
    broker_resident_mib: Option<f64>,
}

impl Start {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let usage = deployment.broker_usage().ok().flatten();
        Self {
            setup: deployment.setup,
            first_call_ms: deployment.first_call.as_secs_f64() * 1e3,
            broker_resident_mib: usage.map(resident_mib),
        }
    }
}

impl Row {
    /// `usage` is before and after, of the nodes.
    pub(super) fn new(setup: Setup, cell: Cell, sample: &Sample, usage: Option<(Usage, Usage)>) -> Self {
        let at = |quantile: f64| sample.latency.value_at_quantile(quantile) as f64 / 1e3;
        let seconds = sample.elapsed.as_secs_f64();
        let thousands = sample.calls as f64 / 1e3;
        Self {
            setup,
            era: plan::era_name(cell.era),
            payload_bytes: cell.payload_bytes,
            load: cell.load,
            calls: sample.calls,
            errors: sample.errors,
            first_error: sample.first_error.clone(),
            seconds,
            calls_per_second: sample.calls as f64 / seconds,
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: sample.latency.max() as f64 / 1e3,
            broker_cpu_s_per_1000: usage.map(|(before, after)| (after.cpu_seconds - before.cpu_seconds) / thousands),
            broker_resident_mib: usage.map(|(_, after)| resident_mib(after)),
        }
    }

    /// Rows with the same group are comparable; modern and small first.
    fn group(&self) -> (bool, bool, usize, Load) {
        let is_open = matches!(self.load, Load::Open { .. });
        (is_open, self.era != plan::era_name(Era::Modern), self.payload_bytes, self.load)
    }
}

impl Report {
    pub(super) fn new(profile: &'static str) -> Self {
        Self { profile, machine: Machine::this(), starts: Vec::new(), rows: Vec::new(), missing: Vec::new() }
    }

    /// True when everything was measured and every answer was right.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty() && !self.rows.is_empty() && self.rows.iter().all(|row| row.errors == 0)
    }
}

impl Machine {
    fn this() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            cores: thread::available_parallelism().map_or(0, usize::from),
            cpu: model.trim_start_matches([' ', '\t', ':']).to_owned(),
            kernel: kernel.trim().to_owned(),
        }
    }
}

fn resident_mib(usage: Usage) -> f64 {
    usage.resident_kib as f64 / 1024.0
}

/// A number or a dash.
fn or_dash(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

/// Microseconds with three digits that mean something.
fn micros(value: f64) -> String {
    match value {
        v if v < 1e3 => format!("{v:.0} us"),
        v if v < 1e5 => format!("{:.2} ms", v / 1e3),
        v => format!("{:.0} ms", v / 1e3),
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<7} {:>7}  {:<12} {:<10} {:<6} {:>9.0} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7}",
            self.era,
            plan::size_name(self.payload_bytes),
            self.load,
            self.setup.path.as_str(),
            self.setup.tracing_label(),
            self.calls_per_second,
            micros(self.p50_us),
            micros(self.p99_us),
            micros(self.max_us),
            or_dash(self.broker_cpu_s_per_1000, 3),
            or_dash(self.broker_resident_mib, 1),
            self.errors,
        )?;
        match &self.first_error {
            Some(error) => write!(f, "  first: {error}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cores, cpu, kernel } = &self.machine;
        writeln!(f, "profile {}; {cores} cores, {cpu}, Linux {kernel}", self.profile)?;
        writeln!(f, "Client, nodes, NATS and server share these cores. CPU and memory are of all nodes together.\n")?;
        writeln!(f, "{:<10} {:<7} {:>15} {:>8}", "path", "traced", "first call ms", "RSS MiB")?;
        for start in &self.starts {
            let (path, tracing) = (start.setup.path.as_str(), start.setup.tracing_label());
            let resident = or_dash(start.broker_resident_mib, 1);
            writeln!(f, "{path:<10} {tracing:<7} {:>15.0} {resident:>8}", start.first_call_ms)?;
        }
        writeln!(
            f,
            "\n{:<7} {:>7}  {:<12} {:<10} {:<6} {:>9} {:>9} {:>9} {:>9} {:>8} {:>8} {:>7}",
            "client", "text", "load", "path", "traced", "calls/s", "p50", "p99", "max", "CPU s/1k", "RSS MiB", "errors",
        )?;
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (row.group(), row.setup));
        for (n, row) in rows.iter().enumerate() {
            if n > 0 && rows[n - 1].group() != row.group() {
                writeln!(f)?;
            }
            writeln!(f, "{row}")?;
        }
        for missing in &self.missing {
            writeln!(f, "\nMISSING {missing}")?;
        }
        let errors: u64 = self.rows.iter().map(|row| row.errors).sum();
        writeln!(f, "\n{} rows, {} missing, {errors} wrong answers", self.rows.len(), self.missing.len())
    }
}
