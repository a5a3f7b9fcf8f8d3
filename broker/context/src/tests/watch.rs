//! Watches: every event once, in order, or an error.

use std::time::Duration;

use futures::StreamExt;
use spanwire_model::{ErrorKind, Result, ShardState};

use super::{
    append, author, options, put,
    service::{ann, contexts, contexts_with},
    space,
};
use crate::{AllowList, Config, Event, EventKind, Quotas, Rule, Transaction, Verb, Watch};

async fn next(watch: &mut Watch) -> Result<Event> {
    let event = tokio::time::timeout(Duration::from_secs(30), watch.next()).await;
    event.expect("an event in time").expect("a watch ends after an error only")
}

#[tokio::test]
async fn every_event_once_and_in_order() {
    let (contexts, _, _) = contexts();
    let ann = ann(&contexts);
    let s = space("s");
    ann.write(&s, Transaction::one(put("before", "1")), options()).await.unwrap();
    let mut now = ann.watch(&s, "", None, true);
    let mut all = ann.watch(&s, "", Some(0), false);
    let mut some = ann.watch(&s, "a/", Some(2), true);
    for number in 0..300 {
        let operations = vec![put(&format!("a/{number}"), "1"), append("b", &["1"])];
        ann.write(&s, Transaction { conditions: vec![], operations }, options()).await.unwrap();
        // In another space, of whatever shard.
        ann.write(&space(&format!("t{}", number % 9)), Transaction::one(put("a/x", "1")), options()).await.unwrap();
    }
    assert_eq!(next(&mut all).await.unwrap().sequence, 1);
    let mut last = 1;
    for number in 0..300 {
        let event = next(&mut now).await.unwrap();
        assert_eq!((event.key.unwrap().to_string(), event.index), (format!("a/{number}"), 0));
        assert!(event.sequence > last && event.value.is_some());
        last = event.sequence;
        let event = next(&mut now).await.unwrap();
        assert_eq!((event.kind, event.sequence, event.index), (EventKind::Append, last, 1));
        assert_eq!(next(&mut some).await.unwrap().key.unwrap().to_string(), format!("a/{number}"));
        for _ in 0..2 {
            let event = next(&mut all).await.unwrap();
            assert_eq!((event.sequence, event.value), (last, None));
        }
    }
    // One that waits is woken; one that was dropped goes on where it was.
    let mut resumed = ann.watch(&s, "", Some(last + 1), true);
    let write = ann.write(&s, Transaction::one(put("late", "1")), options());
    let (written, event) = tokio::join!(write, next(&mut now));
    let sequence = written.unwrap().sequence;
    assert_eq!(event.unwrap().sequence, sequence);
    assert_eq!(next(&mut resumed).await.unwrap().sequence, sequence);
    ann.drop_space(&s, options()).await.unwrap();
    assert_eq!(next(&mut now).await.unwrap().kind, EventKind::Drop);
    // This one had not looked before: it may have missed something.
    assert_eq!(next(&mut some).await.unwrap_err().kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn what_is_gone_is_said_to_be_gone() {
    let quotas = Quotas { log_events: 3, ..Quotas::default() };
    let (contexts, _, _) = contexts_with(|config| Config { quotas, ..config });
    let ann = ann(&contexts);
    let s = space("s");
    let mut slow = ann.watch(&s, "", None, false);
    for _ in 0..5 {
        ann.write(&s, Transaction::one(put("a", "1")), options()).await.unwrap();
    }
    let mut late = ann.watch(&s, "", Some(1), false);
    for watch in [&mut slow, &mut late] {
        let error = next(watch).await.unwrap_err();
        let data = error.data.unwrap().to_value();
        assert_eq!((error.kind, &data["reason"], &data["first"]), (ErrorKind::Conflict, &"gone".into(), &3.into()));
        assert!(error.public.contains("take a snapshot"), "{}", error.public);
        assert!(watch.next().await.is_none());
    }
    let mut rest = ann.watch(&s, "", Some(0), false);
    assert_eq!(next(&mut rest).await.unwrap().sequence, 3);
}

#[tokio::test]
async fn a_shard_that_stops_ends_its_watches() {
    let (contexts, ledger, _) = contexts();
    let mut watch = ann(&contexts).watch(&space("s"), "", None, false);
    ledger.set_state(ShardState::Stopped);
    let error = next(&mut watch).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.public.contains("by hand"), "{}", error.public);
    ledger.set_state(ShardState::Following);
    // A watcher that has heard more than there is watches another log.
    let mut watch = ann(&contexts).watch(&space("s"), "", Some(9), false);
    assert_eq!(next(&mut watch).await.unwrap_err().kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn a_watcher_hears_of_what_it_may_read() {
    let rule = |principal: &str, key: &str| Rule {
        principal: principal.into(),
        space: "*".into(),
        key: key.into(),
        verbs: vec![Verb::Read, Verb::Write],
    };
    let access = std::sync::Arc::new(AllowList::new(vec![rule("ann", "*"), rule("bob", "open")]));
    let (contexts, _, _) = contexts_with(|config| Config { access, ..config });
    let mut watch = contexts.on_behalf(author("bob")).watch(&space("s"), "", None, true);
    for name in ["shut", "open"] {
        ann(&contexts).write(&space("s"), Transaction::one(put(name, "1")), options()).await.unwrap();
    }
    assert_eq!(next(&mut watch).await.unwrap().key.unwrap().as_str(), "open");
}
