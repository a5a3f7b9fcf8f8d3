//! All nodes have applied the same.

use std::collections::BTreeMap;

use spanwire_rpc::v1::{ShardState, ShardStatus, StatusResponse};

/// What is missing until all nodes agree: each follows every shard to its end, with the hash that the others have. `None` when
/// they do.
pub fn missing(nodes: &[StatusResponse]) -> Option<String> {
    let mut ends: BTreeMap<(String, u32), (u64, String, String)> = BTreeMap::new();
    for node in nodes {
        let name = &node.node;
        if node.shards.is_empty() {
            return Some(format!("{name} has no shard"));
        }
        if node.shards.len() != nodes[0].shards.len() {
            return Some(format!(
                "{name} has {} shards, {} has {}",
                node.shards.len(),
                nodes[0].node,
                nodes[0].shards.len()
            ));
        }
        for shard in &node.shards {
            if let Some(what) = behind(shard) {
                return Some(format!("{} of {name} {what}", label(shard)));
            }
            let key = (shard.book.clone(), shard.number);
            let end = (shard.applied, shard.hash.clone(), name.clone());
            let (applied, hash, other) = ends.entry(key).or_insert_with(|| end.clone());
            if (*applied, &*hash) != (shard.applied, &shard.hash) {
                let (here, there) = (shard.applied, *applied);
                let differ = if here == there { ", by other hashes" } else { "" };
                return Some(format!("{} is at {here} of {name} and at {there} of {other}{differ}", label(shard)));
            }
        }
    }
    None
}

fn behind(shard: &ShardStatus) -> Option<String> {
    if shard.state() != ShardState::Following {
        return Some(format!("is {}: {}", shard.state().as_str_name(), shard.detail));
    }
    (shard.applied != shard.last).then(|| format!("is at {} of {}", shard.applied, shard.last))
}

fn label(shard: &ShardStatus) -> String {
    format!("{}.{}", shard.book, shard.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, applied: u64, hash: &str) -> StatusResponse {
        let shard = ShardStatus {
            book: "context".to_owned(),
            state: ShardState::Following.into(),
            applied,
            last: applied,
            hash: hash.to_owned(),
            ..ShardStatus::default()
        };
        StatusResponse { node: name.to_owned(), shards: vec![shard], ..StatusResponse::default() }
    }

    #[test]
    fn equal_ends_and_hashes_agree() {
        assert_eq!(missing(&[node("a", 7, "x"), node("b", 7, "x")]), None);
    }

    #[test]
    fn other_ends_other_hashes_and_other_states_do_not() {
        let good = node("a", 7, "x");
        let mut stopped = node("b", 7, "x");
        stopped.shards[0].set_state(ShardState::Stopped);
        let mut late = node("b", 7, "x");
        late.shards[0].last = 8;
        let mut none = node("b", 7, "x");
        none.shards.clear();
        for bad in [node("b", 8, "x"), node("b", 7, "y"), stopped, late, none] {
            assert!(missing(&[good.clone(), bad.clone()]).is_some(), "{bad:?}");
        }
    }
}
