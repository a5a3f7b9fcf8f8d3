//! What the nodes say of their views, and who is alone with what he has.
//!
//! A checkpoint is the voice of one node about one entry: "after it the hash is this here". The node that tends the logs says it every
//! thousand entries. Whoever has something else, or hears two that differ, says in the log what it has itself. So all hear all voices in
//! one order, and each node judges itself:
//!
//! - who has more with itself than against it is right, and goes on; who is against it is named;
//! - who has more against than with itself is wrong: its view is made anew, from one base after the other, until it has what they have;
//! - where it is as many against as many, nobody can know by counting. Where the log still has its first entry the view is made anew from
//!   there: that is what it should be. Else both go on, and say so.
//!
//! Nothing is done before the others had the time to speak. Whoever spoke first is the more patient one, so that two nodes do not look into
//! themselves at once. An entry that nobody spoke against in that time is settled, and so are all before it: a hash covers those before.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use spanwire_model::NodeId;
use tokio::time::Instant;

use crate::{position::Hash, step::Voice};

/// How long others may take to say what they have.
const SPEAK_WITHIN: Duration = Duration::from_secs(3);
/// How long whoever spoke first waits for those who differ, where it is as many against as many.
const LOOK_WITHIN: Duration = Duration::from_secs(12);
/// Entries whose voices are remembered: more than are written within [`LOOK_WITHIN`]. What is settled is forgotten long before.
const MAX_ENTRIES: usize = 1024;
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
    Right {
        of: u64,
        wrong: Vec<NodeId>,
        reason: String,
        /// Whether somebody is among them who was not named before.
        is_new: bool,
    },
    /// As many nodes say something else as say the same, and there is nothing to find out who is right.
    Even {
        of: u64,
        others: Vec<NodeId>,
        /// Whether somebody is among them who was not named before.
        is_new: bool,
    },
    /// These had something else, and nobody has spoken against the entry.
    Settled { of: u64, were: Vec<NodeId> },
    /// The view has to be made anew.
    Wrong {
        of: u64,
        reason: String,
        /// Whether as many are with this node as against it: then only the whole log may take the place of the view.
        is_even: bool,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Voices {
    me: NodeId,
    entries: BTreeMap<u64, Heard>,
    /// Nodes that were named, and have spoken against this one since.
    named: BTreeSet<NodeId>,
    /// The view was made from the whole log, and no entry was settled since.
    replayed: bool,
    /// An entry was settled, and nobody has asked.
    confirmed: bool,
}

/// The voices about one entry.
#[derive(Debug)]
struct Heard {
    /// What the hash is here; none when the entry came with a snapshot, or is too old.
    own: Option<Hash>,
    /// Who spoke first.
    first: NodeId,
    /// What each node said last. This one too.
    said: BTreeMap<NodeId, Hash>,
    /// What this node says, or has said, in this process.
    saying: Option<Hash>,
    /// When it was first judged.
    since: Option<Instant>,
    /// Everybody had the time to speak.
    is_old: bool,
    /// When others were first found to differ, without anybody being known to be wrong.
    differ_since: Option<Instant>,
    /// When this node goes by what it has heard.
    due: Option<Instant>,
    decided: Option<Decision>,
}

/// What was found about those who say something else.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Wrong(Vec<NodeId>),
    Even(Vec<NodeId>),
}

/// Who is with this node, and who is against it.
struct Count {
    with: usize,
    /// The most that say one and the same other thing.
    most: usize,
    against: BTreeMap<Hash, Vec<NodeId>>,
}

/// What all entries are judged with.
struct Judge<'a> {
    me: &'a NodeId,
    named: &'a BTreeSet<NodeId>,
    replayed: bool,
    can_replay: bool,
    now: Instant,
}

impl Voices {
    pub(super) fn new(me: NodeId) -> Self {
        Self { me, entries: BTreeMap::new(), named: BTreeSet::new(), replayed: false, confirmed: false }
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
            is_old: false,
            differ_since: None,
            due: None,
            decided: None,
        });
        heard.own = own.or(heard.own);
        if heard.said.len() < MAX_NODES || heard.said.contains_key(&node) {
            heard.said.insert(node, hash);
        }
        while self.entries.len() > MAX_ENTRIES {
            // What is not decided is forgotten last: its time must come.
            let closed = self.entries.iter().find(|(_, heard)| !heard.is_open(&self.me)).map(|(of, _)| *of);
            match closed {
                Some(of) => drop(self.entries.remove(&of)),
                None => drop(self.entries.pop_first()),
            }
        }
    }

    /// What there is to do now. Asked again until there is nothing. `is_whole` says whether the log still has its first entry.
    pub(super) fn judge(&mut self, now: Instant, is_whole: bool) -> Option<Verdict> {
        let Self { me, entries, named, replayed, .. } = self;
        let judge = Judge { me, named, replayed: *replayed, can_replay: is_whole && !*replayed, now };
        let verdict = entries.iter_mut().find_map(|(of, heard)| heard.judge(*of, &judge));
        if let Some(Verdict::Right { wrong: nodes, .. } | Verdict::Even { others: nodes, .. }) = &verdict {
            self.named.extend(nodes.iter().cloned());
        }
        verdict.or_else(|| self.settle())
    }

    /// When there may be something to do although nothing is heard.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let open = self.entries.values().filter(|heard| heard.is_open(&self.me)).filter_map(|heard| heard.due);
        let young = self.entries.values().filter(|heard| !heard.is_old).filter_map(|heard| heard.since);
        open.chain(young.map(|since| since + SPEAK_WITHIN)).min()
    }

    /// True while somebody says something else than this node, and it is not decided what to do about it.
    pub(super) fn is_disputed(&self) -> bool {
        self.entries.values().any(|heard| heard.is_open(&self.me))
    }

    /// True while as many say something else as say the same.
    pub(super) fn is_even(&self) -> bool {
        let is_even = |heard: &Heard| matches!(heard.decided, Some(Decision::Even(_)));
        self.entries.values().any(|heard| is_even(heard) && !heard.count(&self.me).against.is_empty())
    }

    /// True once after an entry was settled that this node had the time to be told off for.
    pub(super) fn is_confirmed(&mut self) -> bool {
        std::mem::take(&mut self.confirmed)
    }

    /// The view is another one from now on, made of the whole log or of a snapshot. What was said stays said.
    pub(super) fn made_anew(&mut self, replayed: bool) {
        self.replayed = replayed;
        self.confirmed = false;
        for heard in self.entries.values_mut() {
            heard.own = None;
            (heard.differ_since, heard.due, heard.decided) = (None, None, None);
        }
    }

    /// Looks for the newest entry that all had the time to speak against, and most did not. What was said before it is over.
    fn settle(&mut self) -> Option<Verdict> {
        if self.is_disputed() {
            return None;
        }
        let mut known = self.entries.iter().rev().filter(|(_, heard)| heard.own.is_some());
        let (of, against) = known.find_map(|(of, heard)| {
            let Count { with, most, against } = heard.count(&self.me);
            match with <= most {
                // A view that is wrong at the end is not right since it was right before.
                true => Some(None),
                false => heard.is_old.then_some(Some((*of, against))),
            }
        })??;
        self.entries = self.entries.split_off(&of);
        (self.replayed, self.confirmed) = (false, true);
        let against: BTreeSet<_> = against.into_values().flatten().collect();
        let were: Vec<_> = self.named.difference(&against).cloned().collect();
        self.named.retain(|node| against.contains(node));
        (!were.is_empty()).then_some(Verdict::Settled { of, were })
    }
}

impl Heard {
    fn judge(&mut self, of: u64, judge: &Judge<'_>) -> Option<Verdict> {
        let own = self.own?;
        self.is_old = judge.now >= *self.since.get_or_insert(judge.now) + SPEAK_WITHIN;
        let differ = self.said.values().any(|said| *said != own);
        if differ && self.saying != Some(own) && self.said.get(judge.me) != Some(&own) {
            self.saying = Some(own);
            return Some(Verdict::Say { of, hash: own });
        }
        let Count { with, most, against } = self.count(judge.me);
        if against.is_empty() {
            (self.differ_since, self.due, self.decided) = (None, None, None);
            return None;
        }
        let others: Vec<NodeId> = against.values().flatten().cloned().collect();
        let is_new = others.iter().any(|node| !judge.named.contains(node));
        let is_even = with == most;
        let reason = match () {
            () if with > most => Some(format!("{with} nodes have another one")),
            () if is_even && judge.replayed => Some("this node has made its view from the whole log".to_owned()),
            () => None,
        };
        if let Some(reason) = reason {
            let is_known = self.decide(Decision::Wrong(others.clone()));
            return (!is_known).then_some(Verdict::Right { of, wrong: others, reason, is_new });
        }
        if is_even && self.decided == Some(Decision::Even(others.clone())) && !judge.can_replay {
            return None;
        }
        let is_known = is_even && !judge.can_replay && !is_new;
        let patience = match self.first == *judge.me && is_even && judge.can_replay {
            true => LOOK_WITHIN,
            false => SPEAK_WITHIN,
        };
        let due = *self.differ_since.get_or_insert(judge.now) + patience;
        (self.due, self.decided) = (Some(due), None);
        if judge.now < due && !is_known {
            return None;
        }
        if is_even && !judge.can_replay {
            self.decide(Decision::Even(others.clone()));
            return Some(Verdict::Even { of, others, is_new });
        }
        Some(Verdict::Wrong { of, reason: said_otherwise(of, own, &against, with), is_even })
    }

    /// True when it was decided so before.
    fn decide(&mut self, decision: Decision) -> bool {
        let decision = Some(decision);
        let is_known = self.decided == decision;
        self.decided = decision;
        is_known
    }

    /// Who says something else than this node has, by what is said. What this node said itself of a view that it had is no voice.
    fn count(&self, me: &NodeId) -> Count {
        let mut against: BTreeMap<Hash, Vec<NodeId>> = BTreeMap::new();
        let mut with = 1;
        let Some(own) = self.own else { return Count { with, most: 0, against } };
        for (node, said) in self.said.iter().filter(|(node, _)| *node != me) {
            match *said == own {
                true => with += 1,
                false => against.entry(*said).or_default().push(node.clone()),
            }
        }
        let most = against.values().map(Vec::len).max().unwrap_or(0);
        Count { with, most, against }
    }

    fn is_open(&self, me: &NodeId) -> bool {
        let mut against = self.count(me).against.into_values().flatten();
        match &self.decided {
            None => against.next().is_some(),
            Some(Decision::Wrong(nodes) | Decision::Even(nodes)) => against.any(|node| !nodes.contains(&node)),
        }
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
