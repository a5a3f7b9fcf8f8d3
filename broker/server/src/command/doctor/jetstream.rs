//! JetStream for this account, and the streams of this tenant. Nothing is made, and nothing of another tenant is asked for.

use spanwire_ledger::{SurveyError, SurveyedStream, survey};
use spanwire_nats::Probe;

use super::Finding;
use crate::config::{Config, LedgerStore};

const CHECK: &str = "jetstream";

pub(super) async fn check(
    config: &Config,
    settings: &spanwire_nats::Config,
    probe: &Probe,
    findings: &mut Vec<Finding>,
) {
    if config.has_local_ledger() {
        findings.push(Finding::ok(CHECK, "not used: ledger.store is \"local\""));
        return;
    }
    match survey(&probe.connection, settings).await {
        Ok(found) => {
            findings.push(Finding::ok(CHECK, "this account may use it"));
            findings.push(streams(&found, config.ledger.replicas));
        }
        Err(error) => findings.push(unavailable(&error, config.ledger.store)),
    }
}

/// A node without it still calls servers; one that was told to use it cannot do what it was told.
fn unavailable(error: &SurveyError, store: LedgerStore) -> Finding {
    let advice = match error {
        SurveyError::NoJetStream(_) => {
            "start nats-server with -js, give the account jetstream limits, or set ledger.store = \"local\""
        }
        SurveyError::NoAnswer(_) => {
            "see below whether it is permitted to ask, and whether most of the nats servers are there"
        }
        SurveyError::Refused(_) => "see the log of nats-server",
    };
    let found = format!("{error}: nothing is registered or kept in the shared context");
    match store {
        LedgerStore::Jetstream => Finding::fail(CHECK, found, advice),
        LedgerStore::Auto | LedgerStore::Local => Finding::warn(CHECK, found, advice),
    }
}

/// How often the streams are kept, where `wanted` is what the configuration says.
fn streams(found: &[SurveyedStream], wanted: Option<u8>) -> Finding {
    let check = "streams";
    let there: Vec<_> = found.iter().filter_map(|stream| Some((stream.name.as_str(), stream.kept?))).collect();
    let Some((_, first)) = there.first() else {
        return Finding::ok(check, "none of this tenant yet: the first node makes them");
    };
    let names = |which: Vec<&(&str, _)>| which.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let stuck: Vec<_> = there.iter().filter(|(_, kept)| !kept.writable).collect();
    if !stuck.is_empty() {
        return Finding::fail(
            check,
            format!("most of the servers that keep {} are away: writes are refused", names(stuck)),
            "start the nats servers that are away",
        );
    }
    let once: Vec<_> = there.iter().filter(|(_, kept)| kept.clustered && kept.replicas == 1).collect();
    if !once.is_empty() && wanted != Some(1) {
        return Finding::warn(
            check,
            format!("kept once (R1) in a cluster: {}: lost with the server that has them", names(once)),
            "\"nats stream edit NAME --replicas 3\", or accept it with ledger.replicas = 1",
        );
    }
    let (least, most) = there.iter().fold((first.replicas, first.replicas), |(least, most), (_, kept)| {
        (least.min(kept.replicas), most.max(kept.replicas))
    });
    let replicas = if least == most { format!("R{least}") } else { format!("R{least} to R{most}") };
    let how = match (first.clustered, least) {
        (false, _) => ": one server keeps them",
        (true, 1) => ": as ledger.replicas says, not all survive the loss of a server",
        (true, _) => ", in a cluster",
    };
    Finding::ok(check, format!("{} of {} are there, {replicas}{how}", there.len(), found.len()))
}

#[cfg(test)]
mod tests;
