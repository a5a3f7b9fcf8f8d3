//! The benchmark: the same calls straight to a fast MCP server, through one node, and through two nodes over NATS.
//!
//! One run prints all of them side by side, on one machine in one minute, so that the rows are comparable; absolute
//! numbers belong to the machine. Every answer is checked; a row that cannot be measured is an error, not a gap.
//!
//! With `ledger` as its first argument it is about what is durable instead: see `bench/ledger.rs`.
//!
//! The era of a row is the client's. The server speaks both, and the nodes choose the modern one; so a legacy row holds
//! the cost of translation at the client's edge. Connections and sessions are opened before the clock starts.

use std::process::ExitCode;

use anyhow::Context;

mod client;
mod deployment;
mod ledger;
mod load;
mod meter;
mod options;
mod plan;
mod process;
mod report;

use deployment::{Binaries, Deployment};
use options::Options;
use plan::{Cell, Load};
use report::{Report, Row, Start};

/// Runs the benchmark as the process's arguments say. Fails when a row is missing or an answer was wrong.
pub fn main() -> ExitCode {
    // cargo adds this one.
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench").peekable();
    let of_the_ledger = args.next_if(|arg| arg == "ledger").is_some();
    match if of_the_ledger { measure_ledger(args) } else { measure_calls(args) } {
        Ok((report, is_complete)) => {
            print!("{report}");
            if is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The report, and whether it is complete.
fn measure_calls(args: impl Iterator<Item = String>) -> anyhow::Result<(String, bool)> {
    let options = Options::from_args(args)?;
    let report = runtime()?.block_on(run(&options))?;
    Ok((report.to_string(), report.is_complete()))
}

fn measure_ledger(args: impl Iterator<Item = String>) -> anyhow::Result<(String, bool)> {
    let options = ledger::Options::from_args(args)?;
    let report = runtime()?.block_on(ledger::run(&options));
    Ok((report.to_string(), report.is_complete()))
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

async fn run(options: &Options) -> anyhow::Result<Report> {
    let binaries = Binaries::find()?;
    let mut report = Report::new(options.profile.name);
    for setup in options.setups() {
        eprintln!("== {setup}");
        match Deployment::start(setup, &binaries).await {
            Ok(deployment) => measure_all(&deployment, options, &mut report).await,
            Err(error) => {
                eprintln!("   {error:#}");
                report.missing.push(format!("{setup}: {error:#}"));
            }
        }
    }
    if let Some(path) = &options.json {
        let text = serde_json::to_vec_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(report)
}

async fn measure_all(deployment: &Deployment, options: &Options, report: &mut Report) {
    report.starts.push(Start::of(deployment));
    for cell in options.profile.cells() {
        match measure(deployment, options, cell).await {
            Ok(row) => {
                eprintln!("   {row}");
                report.rows.push(row);
            }
            Err(error) => {
                eprintln!("   {cell}: {error:#}");
                report.missing.push(format!("{}, {cell}: {error:#}", deployment.setup));
            }
        }
    }
}

async fn measure(deployment: &Deployment, options: &Options, cell: Cell) -> anyhow::Result<Row> {
    let workers = match cell.load {
        Load::Closed { workers } => workers,
        Load::Open { .. } => plan::OPEN_CONNECTIONS,
    };
    let mut clients = client::connect_all(&deployment.endpoint, cell.era, workers).await?;
    let payload = client::Payload::new(&deployment.endpoint.tool, cell.era, cell.payload_bytes);
    let profile = &options.profile;
    let warm = load::closed(&mut clients, &payload, profile.warm_up).await?;
    anyhow::ensure!(warm.errors == 0, "warm-up: {}", warm.first_error.unwrap_or_default());

    let before = deployment.broker_usage()?;
    let sample = match cell.load {
        Load::Closed { .. } => load::closed(&mut clients, &payload, profile.measure).await?,
        Load::Open { per_second } => load::open(&mut clients, &payload, per_second, profile.measure).await?,
    };
    let usage = before.zip(deployment.broker_usage()?);
    Ok(Row::new(deployment.setup, cell, &sample, usage))
}
