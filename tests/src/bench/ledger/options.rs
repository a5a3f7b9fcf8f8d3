//! The command line of `bash tests/bench.sh ledger`.

use std::time::Duration;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: bash tests/bench.sh ledger [--quick | --full] [--only appends,catch-up,context,placed,start-up] \
                     [--rounds N] [--seconds-per-row N] [--commands N] [--store-mib N]";

/// One table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Appends to a ledger.
    Appends,
    /// A node that was away, and one that follows.
    CatchUp,
    /// Writes and watches of the shared context.
    Context,
    /// The fail-over of a server that may run anywhere.
    Placed,
    /// A node that starts on much that it has kept.
    StartUp,
}

impl Part {
    const ALL: [Self; 5] = [Self::Appends, Self::CatchUp, Self::Context, Self::Placed, Self::StartUp];

    /// Its name on the command line.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Appends => "appends",
            Self::CatchUp => "catch-up",
            Self::Context => "context",
            Self::Placed => "placed",
            Self::StartUp => "start-up",
        }
    }
}

/// What to measure.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(super) parts: Vec<Part>,
    /// How often each row is measured; its median counts.
    pub(super) rounds: usize,
    /// How long each measurement of a rate takes.
    pub(super) length: Duration,
    /// Commands that a node follows.
    pub(super) commands: u64,
    /// What a store holds on which a node starts, in MiB.
    pub(super) store_mib: u64,
}

impl Options {
    /// About three minutes.
    fn quick() -> Self {
        let length = Duration::from_secs(1);
        Self { parts: Part::ALL.to_vec(), rounds: 3, length, commands: 20_000, store_mib: 64 }
    }

    /// What the issue asks for; most of an hour.
    fn full() -> Self {
        let length = Duration::from_secs(10);
        Self { rounds: 5, length, commands: 1_000_000, store_mib: 1024, ..Self::quick() }
    }

    /// Reads the arguments behind `ledger`.
    pub(crate) fn from_args(args: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self::quick();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{USAGE}"));
            match arg.as_str() {
                "--quick" => options = Self { parts: options.parts, ..Self::quick() },
                "--full" => options = Self { parts: options.parts, ..Self::full() },
                "--only" => options.parts = value()?.split(',').map(part).collect::<Result<_>>()?,
                "--rounds" => options.rounds = value()?.parse().context("--rounds")?,
                "--seconds-per-row" => {
                    let seconds: f64 = value()?.parse().context("--seconds-per-row")?;
                    anyhow::ensure!((0.05..=600.0).contains(&seconds), "--seconds-per-row must be from 0.05 to 600");
                    options.length = Duration::from_secs_f64(seconds);
                }
                "--commands" => options.commands = value()?.parse().context("--commands")?,
                "--store-mib" => options.store_mib = value()?.parse().context("--store-mib")?,
                _ => bail!("unknown argument {arg:?}\n{USAGE}"),
            }
        }
        anyhow::ensure!((1..=101).contains(&options.rounds), "--rounds must be from 1 to 101");
        Ok(options)
    }
}

fn part(name: &str) -> Result<Part> {
    let found = Part::ALL.into_iter().find(|part| part.as_str() == name);
    found.with_context(|| format!("there is no part {name:?}\n{USAGE}"))
}
