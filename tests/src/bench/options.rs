//! The command line of the benchmark.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};

use super::plan::{Path, Profile, Setup};

const USAGE: &str = "usage: bash tests/bench.sh [--quick | --full] [--only direct,one-node,two-nodes] \
                     [--seconds-per-row N] [--json FILE]";

/// What to measure and where to write it.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) profile: Profile,
    pub(super) json: Option<PathBuf>,
    only: Vec<Path>,
}

impl Options {
    pub(super) fn from_args(args: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let mut options = Self { profile: Profile::QUICK, json: None, only: Path::ALL.to_vec() };
        let mut seconds = None;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} needs a value\n{USAGE}"));
            match arg.as_str() {
                "--quick" => options.profile = Profile::QUICK,
                "--full" => options.profile = Profile::FULL,
                "--json" => options.json = Some(value()?.into()),
                "--only" => options.only = value()?.split(',').map(path).collect::<Result<_, _>>()?,
                "--seconds-per-row" => seconds = Some(value()?.parse::<f64>().context("--seconds-per-row")?),
                _ => bail!("unknown argument {arg:?}\n{USAGE}"),
            }
        }
        if let Some(seconds) = seconds {
            anyhow::ensure!((0.05..=600.0).contains(&seconds), "--seconds-per-row must be from 0.05 to 600");
            options.profile.measure = Duration::from_secs_f64(seconds);
        }
        Ok(options)
    }

    /// The setups in the order of the table.
    pub(super) fn setups(&self) -> Vec<Setup> {
        self.only.iter().flat_map(|path| Setup::of(*path)).collect()
    }
}

fn path(name: &str) -> anyhow::Result<Path> {
    let found = Path::ALL.into_iter().find(|path| path.as_str() == name);
    found.with_context(|| format!("there is no path {name:?}\n{USAGE}"))
}
