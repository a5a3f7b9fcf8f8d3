//! What the nodes say of their views, and who is alone with what he has.
//!
//! A checkpoint is the voice of one node about one entry: "after it the hash is this here". The node that tends the logs says it every
//! thousand entries. Whoever has something else, or hears two that differ, says in the log what it has itself. So all hear all voices in
//! one order, and each node judges itself:
//!
//! - those who say the same as most are right, and go on; who is against them is named;
//! - who has more against than with itself is wrong: its view is made anew, from one base after the other, until it has what they have;
//! - where it is as many against as many, the view is made anew too: when two bases lead to the same hash, the others are wrong.
//!
//! Nothing is done before the others had the time to speak. Whoever spoke first is the more patient one, so that of two nodes the one that
//! objects looks into itself first.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use spanwire_model::NodeId;
use tokio::time::Instant;

use crate::{position::Hash, step::Voice};

/// How long others may take to say what they have.
const SPEAK_WITHIN: Duration = Duration::from_secs(3);
/// How long whoever spoke first waits for those who differ.
const LOOK_WITHIN: Duration = Duration::from_secs(12);
/// Entries whose voices are remembered.
const MAX_ENTRIES: usize = 16;
/// Nodes that are heard about one entry.
const MAX_NODES: usize = 256;

/// What there is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Say in the log what the hash is here.
    Say {
        /// After which entry.
        of: u64,
        hash: Hash,
    },
    /// This node is right about the entry, and these are not.
    Right { of: u64, wrong: Vec<NodeId>, reason: String },
    /// They all say the same now.
    Settled { of: u64, was_wrong: Vec<NodeId> },
    /// The view has to be made anew.
    Wrong { of: u64, reason: String },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Voices {
    me: NodeId,
    entries: BTreeMap<u64, Heard>,
    /// Nodes that were wrong, and have not agreed with this one since. They do not make it doubt itself again.
    doubted: BTreeSet<NodeId>,
    /// Something was heard, or made anew, and not judged since.
    is_news: bool,
}

/// The voices about one entry.
#[derive(Debug)]
struct Heard {
    /// What the hash is here; none when the entry came with a snapshot, or is too old.
    own: Option<Hash>,
    /// Who spoke first.
    first: NodeId,
    /// What each node said last. This one too: it may have had another view then.
    said: BTreeMap<NodeId, Hash>,
    /// What this node says, or has said, in this process.
    saying: Option<Hash>,
    /// When they were first found to differ, without anybody being known to be wrong.
    since: Option<Instant>,
    /// When this node goes by what it has heard.
    due: Option<Instant>,
    /// What the own hash was in views that were given up.
    before: Vec<Hash>,
    /// Who was found wrong about it.
    wrong: Vec<NodeId>,
}

impl Voices {
    pub(super) fn new(me: NodeId) -> Self {
        Self { me, entries: BTreeMap::new(), doubted: BTreeSet::new(), is_news: false }
    }

    /// Takes in a voice, in the order of the log.
    pub(super) fn hear(&mut self, voice: Voice) {
        let Voice { of, hash, node, own } = voice;
        let heard = self.entries.entry(of).or_insert_with(|| Heard {
            own: None,
            first: node.clone(),
            said: BTreeMap::new(),
            saying: None,
            since: None,
            due: None,
            before: Vec::new(),
            wrong: Vec::new(),
        });
        self.is_news = true;
        heard.own = own.or(heard.own);
        if own == Some(hash) {
            self.doubted.remove(&node);
        }
        if heard.said.len() < MAX_NODES || heard.said.contains_key(&node) {
            heard.said.insert(node, hash);
        }
        while self.entries.len() > MAX_ENTRIES {
            self.entries.pop_first();
        }
    }

    /// What there is to do now. Asked again until there is nothing.
    pub(super) fn judge(&mut self, now: Instant) -> Option<Verdict> {
        let (me, doubted) = (&self.me, &mut self.doubted);
        let verdict = self.entries.iter_mut().find_map(|(of, heard)| heard.judge(*of, me, doubted, now));
        self.is_news = verdict.is_some();
        verdict
    }

    /// True when there is something new to judge.
    pub(super) fn is_news(&self) -> bool {
        self.is_news
    }

    /// When there may be something to do although nothing is heard.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let waiting = self.entries.values().filter(|heard| heard.due.is_some() && heard.is_open(&self.me));
        waiting.filter_map(|heard| heard.due).min()
    }

    /// True while somebody says something else than this node, and is not known to be wrong.
    pub(super) fn is_disputed(&self) -> bool {
        self.entries.values().any(|heard| heard.is_open(&self.me))
    }

    /// True when the last entry that others speak of is the same here and there.
    pub(super) fn is_confirmed(&self) -> bool {
        let spoken = self.entries.values().rev().find(|heard| heard.said.keys().any(|node| *node != self.me));
        spoken.is_some_and(|heard| heard.own.is_some() && heard.against(&self.me).is_empty())
    }

    /// The view is another one from now on. What was said stays said.
    pub(super) fn made_anew(&mut self) {
        self.is_news = true;
        for heard in self.entries.values_mut() {
            heard.before.extend(heard.own.take());
            (heard.since, heard.due) = (None, None);
            heard.wrong.clear();
        }
    }
}

impl Heard {
    fn judge(&mut self, of: u64, me: &NodeId, doubted: &mut BTreeSet<NodeId>, now: Instant) -> Option<Verdict> {
        let own = self.own?;
        let differ = self.said.values().any(|said| *said != own);
        // A word of an earlier view is taken back when it is known to be wrong; until then it counts like another node's.
        let word = self.said.get(me);
        let bound = word.is_some_and(|word| !self.is_given_up(*word) && !self.wrong.contains(me));
        if differ && !bound && self.saying != Some(own) && word != Some(&own) {
            self.saying = Some(own);
            return Some(Verdict::Say { of, hash: own });
        }
        let against = self.against(me);
        if against.is_empty() {
            (self.since, self.due) = (None, None);
            let was_wrong = std::mem::take(&mut self.wrong);
            return (!was_wrong.is_empty()).then_some(Verdict::Settled { of, was_wrong });
        }
        let most = against.values().map(Vec::len).max().unwrap_or(0);
        let with = 1 + self.said.iter().filter(|(node, said)| *node != me && **said == own).count();
        let derived = 1 + self.before.iter().filter(|before| **before == own).count();
        let all: Vec<NodeId> = against.values().flatten().cloned().collect();
        if with >= most && self.wrong == all {
            // It was decided, and nothing was said since.
            return None;
        }
        let reason = if with > most {
            format!("{with} nodes have another one")
        } else if with == most && derived > 1 {
            format!("this node has made its view {derived} times, with the same outcome")
        } else if with == most && all.iter().all(|node| doubted.contains(node)) {
            "it was wrong before".to_owned()
        } else {
            let patience = if with == most && self.first == *me { LOOK_WITHIN } else { SPEAK_WITHIN };
            let due = *self.since.get_or_insert(now) + patience;
            self.due = Some(due);
            if now < due {
                return None;
            }
            return Some(Verdict::Wrong { of, reason: said_otherwise(of, own, &against, with) });
        };
        doubted.extend(all.iter().filter(|node| *node != me).cloned());
        self.wrong.clone_from(&all);
        Some(Verdict::Right { of, wrong: all, reason })
    }

    /// Who says something else than this node has, by what is said. This node too, when it said so before.
    fn against(&self, me: &NodeId) -> BTreeMap<Hash, Vec<NodeId>> {
        let mut groups: BTreeMap<Hash, Vec<NodeId>> = BTreeMap::new();
        let Some(own) = self.own else { return groups };
        for (node, said) in self.said.iter().filter(|(_, said)| **said != own) {
            if node != me || !self.is_given_up(*said) {
                groups.entry(*said).or_default().push(node.clone());
            }
        }
        groups
    }

    /// True for what was said of a view that this node has given up.
    fn is_given_up(&self, said: Hash) -> bool {
        self.before.contains(&said)
    }

    fn is_open(&self, me: &NodeId) -> bool {
        let against = self.against(me);
        !against.is_empty() && against.values().flatten().any(|node| !self.wrong.contains(node))
    }
}

fn said_otherwise(of: u64, own: Hash, against: &BTreeMap<Hash, Vec<NodeId>>, with: usize) -> String {
    let groups = against.iter().map(|(said, nodes)| {
        let nodes: Vec<_> = nodes.iter().map(ToString::to_string).collect();
        format!("{said} on {}", nodes.join(", "))
    });
    let groups: Vec<_> = groups.collect();
    let besides = match with - 1 {
        0 => String::new(),
        others => format!(" (and on {others} more)"),
    };
    format!("after entry {of} the hash is {own} here{besides} and {}", groups.join(" and "))
}

#[cfg(test)]
mod tests;
