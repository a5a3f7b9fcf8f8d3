//! Nodes, leases and the shards of the ledger, for people and as JSON.

use serde_json::{Value, json};
use spanwire_rpc::v1::{LeaseStatus, NodeState, NodeStatus, ShardState, ShardStatus, StatusResponse};

use crate::{
    cli::Context,
    failure::Failure,
    output::{Cell, Tone, duration, first_line},
};

/// Digits of a hash that are shown: enough to see that two nodes differ.
const SHORT_HASH: usize = 12;
const MAX_DETAIL: usize = 160;

/// Prints the tables that say something: other nodes, leases that somebody has, the shards.
pub(super) fn print(status: &StatusResponse, context: &mut Context) -> Result<(), Failure> {
    if status.node_states.len() > 1 {
        context.out.line("")?;
        context
            .out
            .table(&["node", "state", "version", "silent for"], status.node_states.iter().map(node).collect())?;
    }
    if !status.leases.is_empty() {
        context.out.line("")?;
        context.out.table(&["lease", "holder", "token"], status.leases.iter().map(lease).collect())?;
    }
    if !status.shards.is_empty() {
        context.out.line("")?;
        let headers = ["shard", "state", "applied", "last", "lag", "hash", "replicas", "stale for", "detail"];
        context.out.table(&headers, status.shards.iter().map(shard).collect())?;
    }
    Ok(())
}

fn node(node: &NodeStatus) -> Vec<Cell> {
    let (word, tone) = node_state(node.state());
    vec![(&node.id).into(), Cell::toned(word, tone), (&node.version).into(), since(node.silent_ms)]
}

fn lease(lease: &LeaseStatus) -> Vec<Cell> {
    vec![(&lease.name).into(), (&lease.node).into(), lease.token.to_string().into()]
}

fn shard(shard: &ShardStatus) -> Vec<Cell> {
    let (word, tone) = shard_state(shard.state());
    let lag = shard.last.saturating_sub(shard.applied);
    vec![
        name(shard).into(),
        Cell::toned(word, tone),
        shard.applied.to_string().into(),
        shard.last.to_string().into(),
        Cell::toned(lag.to_string(), if lag == 0 { Tone::Dim } else { Tone::Warn }),
        Cell::toned(shard.hash.get(..SHORT_HASH).unwrap_or(&shard.hash), Tone::Dim),
        shard.replicas.to_string().into(),
        since(shard.stale_ms),
        first_line(&shard.detail, MAX_DETAIL).into(),
    ]
}

fn since(ms: u64) -> Cell {
    match ms {
        0 => Cell::toned("-", Tone::Dim),
        ms => duration(ms.saturating_mul(1_000_000)).into(),
    }
}

fn name(shard: &ShardStatus) -> String {
    format!("{}.{}", shard.book, shard.number)
}

fn node_state(state: NodeState) -> (&'static str, Tone) {
    match state {
        NodeState::Unspecified => ("unknown", Tone::Dim),
        NodeState::Alive => ("alive", Tone::Good),
        NodeState::Draining => ("draining", Tone::Warn),
        NodeState::Suspect => ("suspect", Tone::Bad),
    }
}

/// How a shard is in a few words, and how that is meant.
pub(crate) fn shard_state(state: ShardState) -> (&'static str, Tone) {
    match state {
        ShardState::Unspecified => ("unknown", Tone::Dim),
        ShardState::CatchingUp => ("catching up", Tone::Warn),
        ShardState::Following => ("following", Tone::Good),
        ShardState::CutOff => ("cut off", Tone::Bad),
        ShardState::Rebuilding => ("rebuilding", Tone::Warn),
        ShardState::Stopped => ("stopped", Tone::Bad),
    }
}

/// The shards in one line: `6 shards following`, or how many are in which state.
pub(super) fn summary(shards: &[ShardStatus]) -> String {
    let states = [
        ShardState::Following,
        ShardState::CatchingUp,
        ShardState::Rebuilding,
        ShardState::CutOff,
        ShardState::Stopped,
        ShardState::Unspecified,
    ];
    let counted = states.into_iter().filter_map(|state| {
        let count = shards.iter().filter(|shard| shard.state() == state).count();
        let (word, tone) = shard_state(state);
        (count > 0).then(|| crate::output::paint(&format!("{count} {word}"), tone))
    });
    counted.collect::<Vec<_>>().join(", ")
}

/// The nodes as JSON.
pub(super) fn nodes_json(nodes: &[NodeStatus]) -> Value {
    let one = |node: &NodeStatus| {
        let state = node_state(node.state()).0;
        json!({ "id": node.id, "state": state, "version": node.version, "silent_ms": node.silent_ms })
    };
    nodes.iter().map(one).collect()
}

/// The leases as JSON.
pub(super) fn leases_json(leases: &[LeaseStatus]) -> Value {
    let one = |lease: &LeaseStatus| json!({ "name": lease.name, "node": lease.node, "token": lease.token });
    leases.iter().map(one).collect()
}

/// The shards as JSON.
pub(super) fn shards_json(shards: &[ShardStatus]) -> Value {
    let one = |shard: &ShardStatus| {
        json!({
            "name": name(shard),
            "book": shard.book,
            "number": shard.number,
            "state": shard_state(shard.state()).0,
            "detail": shard.detail,
            "applied": shard.applied,
            "last": shard.last,
            "lag": shard.last.saturating_sub(shard.applied),
            "first": shard.first,
            "hash": shard.hash,
            "replicas": shard.replicas,
            "stale_ms": shard.stale_ms,
        })
    };
    shards.iter().map(one).collect()
}
