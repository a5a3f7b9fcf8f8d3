//! `spanwire doctor`: looks for what is wrong, and says what to do.

use std::path::PathBuf;

use serde_json::{Value, json};
use spanwire_model::NodeId;
use spanwire_rpc::v1::StatusRequest;

use crate::{
    cli::Context,
    client::Target,
    config::{Config, Overrides, Source},
    failure::Failure,
    output::{Cell, Tone, count},
};

mod jetstream;
mod local;
mod nats;
mod network;
mod start;

/// Arguments of `spanwire doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not start the servers when no node is running
    #[arg(long)]
    no_start: bool,
    /// NATS servers that connect the nodes [default: as for `spanwire up`]
    #[arg(long, env = "SPANWIRE_NATS_URL", hide_env_values = true, value_name = "URL")]
    nats: Option<String>,
    /// Folder for state [default: as for `spanwire up`]
    #[arg(long, env = "SPANWIRE_DATA_DIR", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Id of this node [default: as for `spanwire up`]
    #[arg(long, env = "SPANWIRE_NODE_ID", value_name = "ID")]
    node_id: Option<NodeId>,
}

impl Args {
    fn overrides(&self) -> Overrides {
        Overrides {
            node_id: self.node_id.clone(),
            data_dir: self.data.clone(),
            nats_url: self.nats.clone(),
            ..Overrides::default()
        }
    }
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to do.
    Ok,
    /// It works, but not as well as it could; or it could not be checked.
    Warn,
    /// It does not work.
    Fail,
}

/// One line of the report.
#[derive(Debug)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: String,
    /// How it ended.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) found: String,
    /// What to do about it; empty when there is nothing.
    pub(super) advice: String,
}

impl Finding {
    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Ok, found: found.into(), advice: String::new() }
    }

    pub(super) fn warn(check: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Warn, found: found.into(), advice: advice.into() }
    }

    pub(super) fn fail(check: impl Into<String>, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { check: check.into(), verdict: Verdict::Fail, found: found.into(), advice: advice.into() }
    }
}

/// Makes all checks and prints them. Fails when one of them did.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let target = context.target();
    let config = configuration(context, args.overrides(), &mut findings);
    if let Some(config) = &config {
        local::check(config, &mut findings);
        network::check(config, &mut findings).await;
    }
    let running = node(&target, config.as_ref(), &mut findings).await;
    match (running, &config) {
        (Some(mut broker), _) => start::of_running(&mut broker, &mut findings).await,
        (None, Some(config)) if !args.no_start => start::in_trial(config, &mut findings).await,
        (None, _) => {}
    }
    print(&findings, context)?;
    match findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        failed => Err(Failure::failed(format!("{} failed", count(failed, "check")))),
    }
}

fn configuration(context: &Context, overrides: Overrides, findings: &mut Vec<Finding>) -> Option<Config> {
    let path = context.config_path();
    let shown = path.as_ref().map_or_else(|| "none: the defaults hold".to_owned(), |path| path.display().to_string());
    match (Source { path, overrides }).load() {
        Ok((config, _)) => {
            let enabled = config.servers.values().filter(|server| server.enabled).count();
            findings.push(Finding::ok("configuration", format!("{shown}, {}", count(enabled, "server"))));
            Some(config)
        }
        Err(error) => {
            let advice = "correct the file; \"spanwire validate --schema\" prints what is allowed";
            findings.push(Finding::fail("configuration", error.to_string(), advice));
            None
        }
    }
}

/// Either a node answers, or its ports are free for one.
async fn node(target: &Target, config: Option<&Config>, findings: &mut Vec<Finding>) -> Option<crate::client::Broker> {
    match target.connect().await {
        Ok(mut broker) => match broker.status(StatusRequest {}).await {
            Ok(status) => {
                let status = status.into_inner();
                let text = format!("{} {} answers at {}", status.node, status.version, target.url);
                findings.push(match status.ready {
                    true => Finding::ok("node", text),
                    false => Finding::warn(
                        "node",
                        format!("{text}, not ready: {}", status.missing.join("; ")),
                        "wait, or see its log",
                    ),
                });
                Some(broker)
            }
            Err(status) => {
                let failure = Failure::from(status);
                let advice = failure.hint.clone().unwrap_or_else(|| "another program may have the port".to_owned());
                findings.push(Finding::fail("node", failure.to_string(), advice));
                None
            }
        },
        Err(_) => {
            findings.push(Finding::ok("node", format!("none is running at {}", target.url)));
            if let Some(config) = config {
                network::check_ports(config, findings);
            }
            None
        }
    }
}

fn print(findings: &[Finding], context: &mut Context) -> Result<(), Failure> {
    let verdict = |finding: &Finding| match finding.verdict {
        Verdict::Ok => ("ok", Tone::Good),
        Verdict::Warn => ("warn", Tone::Warn),
        Verdict::Fail => ("fail", Tone::Bad),
    };
    if context.out.json {
        let checks: Vec<Value> = findings
            .iter()
            .map(|finding| {
                json!({
                    "check": finding.check, "verdict": verdict(finding).0, "found": finding.found,
                    "advice": finding.advice,
                })
            })
            .collect();
        context.out.document(&json!({ "checks": checks }))?;
        return Ok(());
    }
    let rows = findings.iter().map(|finding| {
        let (word, tone) = verdict(finding);
        vec![
            Cell::from(&finding.check),
            Cell::toned(word, tone),
            Cell::from(&finding.found),
            Cell::from(&finding.advice),
        ]
    });
    context.out.table(&["check", "", "found", "what to do"], rows.collect())?;
    Ok(())
}
