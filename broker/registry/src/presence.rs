//! Which nodes are there, as far as this one can know: a table of who was heard when. Time is given, nothing is sent.
//!
//! Silence of a node means something only while this node hears anything at all. It hears its own heartbeats too, so it can tell: when
//! nothing at all arrives any more, it is this node that is cut off. Then everybody else is suspect, since that is what it knows, and
//! nobody is gone; when it hears again, each of them gets the whole time anew.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use spanwire_model::{NodeId, NodeInfo, NodeState};
use tokio::time::Instant;

/// Nodes that are followed. More are ignored, with a warning.
pub(crate) const MAX_NODES: usize = 256;

/// How long a node may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until it is suspect.
    pub(crate) suspect: Duration,
    /// Until it is gone.
    pub(crate) gone: Duration,
}

/// Who was heard when.
#[derive(Debug)]
pub(crate) struct Presence {
    patience: Patience,
    nodes: BTreeMap<NodeId, Seen>,
    /// When anything was heard last, the own voice included.
    heard: Instant,
    /// Nothing is heard at all.
    is_deaf: bool,
    /// Since when something is heard again.
    hears_since: Instant,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    is_draining: bool,
    version: Arc<str>,
    shown: NodeState,
}

impl Presence {
    pub(crate) fn new(patience: Patience, now: Instant) -> Self {
        Self { patience, nodes: BTreeMap::new(), heard: now, is_deaf: false, hears_since: now }
    }

    /// The own voice came back.
    pub(crate) fn echo(&mut self, now: Instant) {
        self.hear(now);
    }

    /// Something arrived. After a pause of this node it may do so before the first look at the clock.
    fn hear(&mut self, now: Instant) {
        if now.duration_since(self.heard) > self.patience.suspect {
            self.hears_since = now;
        }
        self.heard = now;
    }

    /// True when it is followed already.
    pub(crate) fn knows(&self, node: &NodeId) -> bool {
        self.nodes.contains_key(node)
    }

    /// True when one more can be followed.
    pub(crate) fn has_room(&self) -> bool {
        self.nodes.len() < MAX_NODES
    }

    /// A node said that it is there. True when it is shown otherwise than before.
    pub(crate) fn alive(&mut self, node: &NodeId, is_draining: bool, version: &Arc<str>, now: Instant) -> bool {
        self.hear(now);
        let shown = if is_draining { NodeState::Draining } else { NodeState::Alive };
        let seen = Seen { last: now, is_draining, version: version.clone(), shown };
        let before = self.nodes.insert(node.clone(), seen);
        before.is_none_or(|before| before.shown != shown || before.version != *version)
    }

    /// A node said that it leaves. True when it was there.
    pub(crate) fn left(&mut self, node: &NodeId, now: Instant) -> bool {
        self.hear(now);
        self.nodes.remove(node).is_some()
    }

    /// Looks at the clock. Returns who is gone, and whether anybody else is shown otherwise than before.
    pub(crate) fn look(&mut self, is_connected: bool, now: Instant) -> (Vec<NodeId>, bool) {
        let was_deaf = self.is_deaf;
        self.is_deaf = !is_connected || now.duration_since(self.heard) > self.patience.suspect;
        if was_deaf && !self.is_deaf {
            self.hears_since = now;
        }
        let (is_deaf, patience, since) = (self.is_deaf, self.patience, self.hears_since);
        let mut gone = Vec::new();
        let mut changed = false;
        self.nodes.retain(|node, seen| {
            if !is_deaf && now.duration_since(seen.last.max(since)) > patience.gone {
                gone.push(node.clone());
                return false;
            }
            let shown = match seen.is_draining {
                _ if is_deaf || now.duration_since(seen.last) > patience.suspect => NodeState::Suspect,
                true => NodeState::Draining,
                false => NodeState::Alive,
            };
            changed |= shown != seen.shown;
            seen.shown = shown;
            true
        });
        (gone, changed)
    }

    /// Everybody who is followed.
    pub(crate) fn nodes(&self, now: Instant) -> Vec<NodeInfo> {
        let info = |(id, seen): (&NodeId, &Seen)| NodeInfo {
            id: id.clone(),
            state: seen.shown,
            version: seen.version.clone(),
            silent: now.duration_since(seen.last),
        };
        self.nodes.iter().map(info).collect()
    }
}

#[cfg(test)]
mod tests;
