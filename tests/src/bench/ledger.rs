//! The benchmark of what is durable: `bash tests/bench.sh ledger`.
//!
//! The first rows use a ledger directly, on each of its stores; the others are real nodes, as clients see them. Rows of one table are
//! measured one after the other on one machine, several times each, and stand for their medians; the last column compares them with the
//! first. Absolute numbers belong to the machine.

use std::fmt;

use anyhow::Result;

mod appends;
mod catch_up;
mod context;
mod options;
mod placed;
mod start_up;
mod table;

pub(super) use options::Options;
use options::Part;
use table::Table;

/// All tables of a run.
#[derive(Debug, Default)]
pub(super) struct Report {
    tables: Vec<Table>,
    missing: Vec<String>,
}

impl Report {
    /// True when everything was measured.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.is_empty() && !self.tables.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        for missing in &self.missing {
            writeln!(f, "MISSING {missing}")?;
        }
        write!(f, "{} tables, {} missing", self.tables.len(), self.missing.len())?;
        writeln!(f)
    }
}

/// Measures what the options ask for.
pub(super) async fn run(options: &Options) -> Report {
    let mut report = Report::default();
    for part in &options.parts {
        eprintln!("== {}", part.as_str());
        match measure(*part, options).await {
            Ok(table) => {
                eprintln!("{table}");
                report.tables.push(table);
            }
            Err(error) => {
                eprintln!("   {error:#}");
                report.missing.push(format!("{}: {error:#}", part.as_str()));
            }
        }
    }
    report
}

async fn measure(part: Part, options: &Options) -> Result<Table> {
    match part {
        Part::Appends => appends::measure(options).await,
        Part::CatchUp => catch_up::measure(options).await,
        Part::Context => context::measure(options).await,
        Part::Placed => placed::measure(options).await,
        Part::StartUp => start_up::measure(options).await,
    }
}
