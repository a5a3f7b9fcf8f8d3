//! The suite itself: a program of Node 22 that writes a folder per scenario.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use spanwire_tests::peers::Peers;
use tokio::{process::Command, time::timeout};

use super::outcome::{Check, Outcome};

/// Longest that one run of all server scenarios may take.
const SERVER_TIMEOUT: Duration = Duration::from_secs(170);
/// Longest that one client scenario may take, and what the suite itself gives it.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(60);
const CLIENT_TIMEOUT_MS: &str = "30000";
/// A result folder ends with `-2026-11-22T14-49-29-460Z`.
const STAMP_LEN: usize = 25;

/// What each scenario gave.
pub(super) type Results = BTreeMap<String, Outcome>;

/// The installed suite.
pub(super) struct Suite {
    node: PathBuf,
    program: PathBuf,
}

impl Suite {
    /// Finds it among the peers.
    pub(super) fn find() -> Result<Self> {
        let modules = Peers::find()?.folder().join("node_modules");
        let program = modules.join("@modelcontextprotocol/conformance/dist/index.js");
        ensure!(program.is_file(), "there is no {}: run tests/peers/install.sh", program.display());
        // Without a binary for this machine the user's own Node has to be new enough.
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let bundled = modules.join(format!("node-linux-{machine}/bin/node"));
        let node = if bundled.is_file() { bundled } else { "node".into() };
        Ok(Self { node, program })
    }

    /// Runs every server scenario of a revision against a URL.
    pub(super) async fn server(&self, url: &str, revision: &str) -> Result<Results> {
        let out = tempfile::tempdir()?;
        let mut command = self.command();
        command.args(["server", "--url", url, "--requirements", revision, "-o"]).arg(out.path());
        let output = timeout(SERVER_TIMEOUT, command.output()).await;
        let output = output.with_context(|| format!("{revision} against {url} did not end"))??;
        let results = read_results(out.path(), "server-")?;
        // It ends with 1 when a scenario fails, so only a run without a result is an error.
        let said = || String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(!results.is_empty(), "{revision} against {url} wrote no result: {}", said());
        Ok(results)
    }

    /// Runs one client scenario at a revision with a command as the client.
    pub(super) async fn client(&self, command_line: &str, scenario: &str, revision: &str) -> Result<Outcome> {
        let out = tempfile::tempdir()?;
        let mut command = self.command();
        command.args(["client", "--command", command_line, "--scenario", scenario, "--spec-version", revision]);
        command.args(["--timeout", CLIENT_TIMEOUT_MS, "-o"]).arg(out.path());
        let output = timeout(CLIENT_TIMEOUT, command.output()).await;
        let output = output.with_context(|| format!("{scenario} at {revision} did not end"))??;
        let outcome = read_results(out.path(), "")?.remove(scenario).unwrap_or_else(Outcome::missing);
        if output.status.success() || !outcome.troubles.is_empty() {
            return Ok(outcome);
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().rev().find(|line| line.starts_with("client: ")).unwrap_or("the client failed");
        Ok(outcome.failed_with(last.to_owned()))
    }

    /// The names of all client scenarios.
    pub(super) async fn client_scenarios(&self) -> Result<Vec<String>> {
        let output = self.command().arg("list").output().await?;
        let listing = String::from_utf8(output.stdout)?;
        let listed = listing.split("\n\n").find(|part| part.trim_start().starts_with("Client scenarios"));
        let lines = listed.with_context(|| format!("no client scenarios in {listing}"))?.lines();
        let names = lines.filter_map(|line| line.trim().strip_prefix("- ")?.split_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(&self.program).stdin(Stdio::null()).env("NO_COLOR", "1").kill_on_drop(true);
        command
    }
}

fn read_results(folder: &Path, prefix: &str) -> Result<Results> {
    let mut results = Results::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let scenario = name.strip_prefix(prefix).unwrap_or(&name);
        let scenario = scenario.get(..scenario.len().saturating_sub(STAMP_LEN)).unwrap_or(scenario).to_owned();
        let outcome = match fs::read(entry.path().join("checks.json")) {
            Ok(bytes) => Outcome::of(&serde_json::from_slice::<Vec<Check>>(&bytes)?),
            Err(_) => Outcome::missing(),
        };
        results.insert(scenario, outcome);
    }
    Ok(results)
}
