//! Acts on what the nodes say of their views: speaks, names who is wrong, and has a view made anew that is alone with what it has.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::{
    Inner,
    append::append_own,
    log::Log,
    voices::{Verdict, Voices},
};
use crate::{
    position::Hash,
    wire::{Kind, Message},
};

/// Voices that may wait to get into the log; of more the oldest are not said.
const MAX_WAITING: usize = 16;
/// How long one may take to get there.
const SPEAK_TIMEOUT: Duration = Duration::from_secs(10);

/// What a node is to say in a log.
#[derive(Debug, Default)]
pub(super) struct Speech {
    waiting: Mutex<VecDeque<(u64, Hash)>>,
    more: Notify,
}

impl Speech {
    fn say(&self, of: u64, hash: Hash) {
        let mut waiting = self.waiting();
        if waiting.len() >= MAX_WAITING {
            waiting.pop_front();
        }
        waiting.push_back((of, hash));
        drop(waiting);
        self.more.notify_one();
    }

    fn next(&self) -> Option<(u64, Hash)> {
        self.waiting().pop_front()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(u64, Hash)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what there is to say, for ever.
pub(super) async fn speak(inner: &Inner, log: &Log) {
    loop {
        while let Some((of, hash)) = log.speech.next() {
            let kind = Kind::Checkpoint { sequence: of, hash: hash.to_string() };
            let message = Message::own(kind, inner.options.node.clone());
            if let Err(error) = append_own(inner, log, &message, Instant::now() + SPEAK_TIMEOUT).await {
                tracing::debug!(shard = %log.shard, "could not say what the hash after entry {of} is here: {error}");
            }
        }
        log.speech.more.notified().await;
    }
}

/// Does what the voices ask for. The reason, when the view has to be made anew.
pub(super) fn weigh(log: &Log, voices: &mut Voices) -> Option<String> {
    let shard = log.shard;
    let wrong = loop {
        match voices.judge(Instant::now()) {
            None => break None,
            Some(Verdict::Say { of, hash }) => log.speech.say(of, hash),
            Some(Verdict::Right { of, wrong, reason }) => {
                let wrong: Vec<_> = wrong.iter().map(ToString::to_string).collect();
                let text = format!("the hash after entry {of} is wrong on {}: {reason}", wrong.join(", "));
                tracing::error!(%shard, "{text}");
                log.remark(text);
            }
            Some(Verdict::Settled { of, was_wrong }) => {
                let was_wrong: Vec<_> = was_wrong.iter().map(ToString::to_string).collect();
                let who = was_wrong.join(", ");
                let text = format!("the hash after entry {of} was wrong on {who}, and is right there since");
                tracing::warn!(%shard, "{text}");
                log.remark(text);
            }
            Some(Verdict::Wrong { of, reason }) => {
                voices.made_anew();
                break Some(format!("checkpoint of entry {of} disagrees: {reason}"));
            }
        }
    };
    log.disputed.store(wrong.is_some() || voices.is_disputed(), Ordering::Release);
    wrong
}
