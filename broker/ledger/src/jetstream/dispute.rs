//! Acts on what the nodes say of their views: speaks, names who is wrong, and has a view made anew that is alone with what it has.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use spanwire_model::NodeId;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use super::{
    Inner,
    append::append_own,
    log::Log,
    rebuild::{Wanted, Why},
    voices::{Verdict, Voices},
};
use crate::{
    position::Hash,
    wire::{Kind, Message},
};

/// Voices that may wait to get into the log; of more the oldest are not said.
const MAX_WAITING: usize = 16;
/// How long one may take to get there, until it is tried again.
const SPEAK_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before it is tried again.
const SPEAK_PAUSE: Duration = Duration::from_millis(200);

/// What a node is to say in a log.
#[derive(Debug, Default)]
pub(super) struct Speech {
    waiting: Mutex<VecDeque<(u64, Hash)>>,
    more: Notify,
}

impl Speech {
    fn say(&self, of: u64, hash: Hash) {
        let mut waiting = self.waiting();
        waiting.retain(|(other, _)| *other != of);
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back((of, hash));
        drop(waiting);
        self.more.notify_one();
    }

    /// What comes first. It stays until it is said, or something else is to be said of the entry.
    fn first(&self) -> Option<(u64, Hash)> {
        self.waiting().front().copied()
    }

    fn said(&self, word: (u64, Hash)) {
        self.waiting().retain(|other| *other != word);
    }

    /// The view that it was of is given up.
    pub(super) fn clear(&self) {
        self.waiting().clear();
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(u64, Hash)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what there is to say, for ever. A word that is not said counts as consent: so nothing that keeps it from the log for a while ends it.
pub(super) async fn speak(inner: &Inner, log: &Log) {
    loop {
        while let Some(word) = log.speech.first() {
            let (of, hash) = word;
            let kind = Kind::Checkpoint { sequence: of, hash: hash.to_string() };
            let message = Message::own(kind, inner.options.node.clone());
            match append_own(inner, log, &message, Instant::now() + SPEAK_TIMEOUT).await {
                Ok(_) => log.speech.said(word),
                Err(error) => {
                    tracing::debug!(shard = %log.shard, "could not say yet what the hash after entry {of} is here: {error}");
                    sleep(spanwire_nats::jittered(SPEAK_PAUSE)).await;
                }
            }
        }
        log.speech.more.notified().await;
    }
}

/// Does what the voices ask for. What is wanted, when the view has to be made anew.
pub(super) fn weigh(log: &Log, voices: &mut Voices) -> Option<Wanted> {
    let shard = log.shard;
    let is_whole = log.facts().is_some_and(|facts| facts.first <= 1);
    let wanted = loop {
        match voices.judge(Instant::now(), is_whole) {
            None => break None,
            Some(Verdict::Say { of, hash }) => log.speech.say(of, hash),
            Some(Verdict::Right { of, wrong, reason, is_new }) => {
                remark(log, is_new, format!("the hash after entry {of} is wrong on {}: {reason}", joined(&wrong)));
            }
            Some(Verdict::Even { of, others, is_new }) => {
                let who = joined(&others);
                let text = format!(
                    "the hash after entry {of} is another one on {who}, and as many nodes say so as not: nobody knows who is wrong"
                );
                remark(log, is_new, text);
            }
            Some(Verdict::Settled { of, were }) => {
                let who = joined(&were);
                let text =
                    format!("nobody speaks against the hash after entry {of} any more; it was another one on {who}");
                tracing::warn!(%shard, "{text}");
                log.remark(text);
            }
            Some(Verdict::Wrong { of, reason, is_even }) => {
                log.speech.clear();
                let why = if is_even { Why::Even } else { Why::Outvoted };
                break Some(Wanted { reason: format!("checkpoint of entry {of} disagrees: {reason}"), why });
            }
        }
    };
    log.disputed.store(wanted.is_some() || voices.is_disputed(), Ordering::Release);
    log.even.store(voices.is_even(), Ordering::Release);
    wanted
}

/// Says who is against this node; loudly when he was not before.
fn remark(log: &Log, is_new: bool, text: String) {
    match is_new {
        true => tracing::error!(shard = %log.shard, "{text}"),
        false => tracing::debug!(shard = %log.shard, "{text}"),
    }
    log.remark(text);
}

fn joined(nodes: &[NodeId]) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
