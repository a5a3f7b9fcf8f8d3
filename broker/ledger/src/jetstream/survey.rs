//! What JetStream has of a tenant, asked without changing anything: for whoever looks for what is wrong.

use spanwire_model::Shard;
use spanwire_nats::{Config, Connection};

use super::{
    LOG_BYTES,
    names::Names,
    streams::{Streams, Trouble},
};
use crate::leases;

/// A stream that the nodes of a tenant use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SurveyedStream {
    /// Its name.
    pub name: String,
    /// How it is; `None` when it was not made yet.
    pub kept: Option<Kept>,
}

/// How a stream is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// On how many servers it is to be.
    pub replicas: u8,
    /// Whether the servers that keep it are a cluster.
    pub clustered: bool,
    /// Whether enough of these servers are there to accept a message.
    pub writable: bool,
}

/// Why JetStream tells nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SurveyError {
    /// The servers have none, or this account may not use it.
    #[error("there is no jetstream for this account: {0}")]
    NoJetStream(String),
    /// No leader, too slow, or not permitted to ask: a server does not answer what is forbidden.
    #[error("jetstream does not answer: {0}")]
    NoAnswer(String),
    /// It said no.
    #[error("jetstream refused: {0}")]
    Refused(String),
}

/// Asks for each stream of the tenant: the logs, the leases, the snapshots. One after the other, until there is trouble.
///
/// # Errors
/// What is wrong with JetStream as a whole.
pub async fn survey(connection: &Connection, config: &Config) -> Result<Vec<SurveyedStream>, SurveyError> {
    let names = Names::new(config.tenant.clone(), config.prefix.as_str());
    let mut all: Vec<String> = Shard::all().map(|shard| names.stream(shard)).collect();
    all.extend([leases::stream_of(&config.tenant), names.stream_of_bucket()]);
    let streams = Streams::new(connection.client.clone(), names, None, LOG_BYTES);
    let streams = streams.in_domain(config.jetstream_domain.as_deref());
    let mut found = Vec::with_capacity(all.len());
    for name in all {
        let kept = match streams.facts_of(&name).await {
            Ok(facts) => Some(Kept { replicas: facts.replicas, clustered: facts.clustered, writable: facts.writable }),
            Err(Trouble::Missing) => None,
            Err(Trouble::NoJetStream(text)) => return Err(SurveyError::NoJetStream(text)),
            Err(Trouble::NoAnswer(text)) => return Err(SurveyError::NoAnswer(text)),
            Err(Trouble::Refused(text)) => return Err(SurveyError::Refused(text)),
        };
        found.push(SurveyedStream { name, kept });
    }
    Ok(found)
}
