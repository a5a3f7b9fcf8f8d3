//! What is written.

use std::{collections::BTreeSet, time::Duration};

use spanwire_model::{Book, MAX_COMMAND_BYTES, RefusalReason, TraceContext};

use super::*;
use crate::testing::{command, put};

const COUNT: &str = r#"{"do":"count","key":"n"}"#;

pub(crate) async fn one_order_for_all<F: Factory>() {
    let place = F::make().await;
    let ledger = shared(&place).await;
    let all = at_once(8, |writer| {
        let ledger = ledger.clone();
        async move {
            let mut own = Vec::new();
            for index in 0..25 {
                own.push(append(&*ledger, command(u128::from(writer * 100 + index) + 1, COUNT)).await);
            }
            assert!(own.is_sorted_by_key(|receipt| receipt.sequence), "each writer's own order");
            own
        }
    })
    .await;
    let mut all: Vec<(u64, u64)> = all.iter().flatten().map(|receipt| (receipt.sequence, number(receipt))).collect();
    all.sort_unstable();
    let counted: Vec<u64> = all.iter().map(|(_, number)| *number).collect();
    assert_eq!(counted, Vec::from_iter(1..=200), "in the order of the sequences");
    assert_eq!(all.iter().map(|(sequence, _)| sequence).collect::<BTreeSet<_>>().len(), 200);
    let status = status(&*ledger, Shard::REGISTRY);
    assert!(status.applied >= 200 && status.last == status.applied, "{status:?}");
}

pub(crate) async fn an_operation_is_applied_once<F: Factory>() {
    let place = F::make().await;
    let ledger = shared(&place).await;
    let receipts = at_once(16, |_| {
        let ledger = ledger.clone();
        async move { append(&*ledger, command(7, COUNT)).await }
    })
    .await;
    assert!(receipts.iter().all(|receipt| *receipt == receipts[0]), "{receipts:?}");
    append(&*ledger, command(8, COUNT)).await;
    assert_eq!(append(&*ledger, command(7, COUNT)).await, receipts[0], "also later");
    // What it is told, is told again, a refusal too.
    let refused = append(&*ledger, command(9, r#"{"do":"refuse","key":"x"}"#)).await;
    assert_eq!(append(&*ledger, command(9, r#"{"do":"refuse","key":"x"}"#)).await, refused);
    drop(ledger);
    let again = place.open(1).await;
    assert_eq!(append(&again, command(7, COUNT)).await, receipts[0], "also after a restart");
    assert_eq!(value(&again, "n").as_deref(), Some("2"));
}

pub(crate) async fn an_operation_is_its_first_command<F: Factory>() {
    let place = F::make().await;
    let ledger = place.open(1).await;
    let first = append(&ledger, command(7, COUNT)).await;
    // Another body, and another principal's: neither is applied, then or ever, and both are told what became of the first.
    assert_eq!(append(&ledger, command(7, &put("n", "100"))).await, first);
    let mut another = command(7, &put("other", "x"));
    another.author.principal = "bob".into();
    assert_eq!(append(&ledger, another).await, first);
    assert_eq!((value(&ledger, "n").as_deref(), value(&ledger, "other")), (Some("1"), None));
    assert_eq!(number(&append(&ledger, command(8, COUNT)).await), 2);
}

pub(crate) async fn an_operation_is_forgotten_in_time<F: Factory>() {
    let place = F::make().await;
    let ledger = place.open(1).await;
    let first = append(&ledger, command(1, COUNT)).await;
    for index in 0..u128::from(OPERATIONS) {
        append(&ledger, command(100 + index, &put("other", "x"))).await;
    }
    let second = append(&ledger, command(1, COUNT)).await;
    assert!(second.sequence > first.sequence + OPERATIONS, "it is a new one");
    assert_eq!(number(&second), 2);
}

pub(crate) async fn conditions_hold_when_applied<F: Factory>() {
    let place = F::make().await;
    let ledger = shared(&place).await;
    for round in 0..10_u64 {
        let receipts = at_once(8, |writer| {
            let ledger = ledger.clone();
            let body = format!(r#"{{"do":"put","key":"k{round}","value":"{writer}","absent":true}}"#);
            async move { append(&*ledger, command(u128::from(round * 10 + writer) + 1, &body)).await }
        })
        .await;
        let first = receipts.iter().enumerate().min_by_key(|(_, receipt)| receipt.sequence).unwrap();
        assert_eq!(value(&*ledger, &format!("k{round}")), Some(first.0.to_string()));
        let refused = receipts.iter().filter_map(|receipt| receipt.outcome.as_ref().err());
        let reasons: Vec<_> = refused.map(|refusal| refusal.reason).collect();
        assert_eq!(reasons, [RefusalReason::Conflict; 7], "the first of the log wins, and the others are told");
    }
}

pub(crate) async fn a_refusal_changes_nothing<F: Factory>() {
    let place = F::make().await;
    let ledger = place.open(1).await;
    let refused = append(&ledger, command(1, r#"{"do":"refuse","key":"r"}"#)).await.outcome.unwrap_err();
    assert_eq!((refused.reason, refused.text.as_str()), (RefusalReason::Quota, "as asked"));
    let invalid = append(&ledger, command(2, r#"["no","body"]"#)).await.outcome.unwrap_err();
    assert_eq!(invalid.reason, RefusalReason::Invalid);
    assert_eq!(look(&ledger, Shard::REGISTRY, |view| view.scan(b"", None, 10).unwrap()).0, []);
    assert_eq!(number(&append(&ledger, command(3, COUNT)).await), 1, "the shard goes on");
}

pub(crate) async fn a_restart_loses_nothing<F: Factory>() {
    let place = F::make().await;
    let mut operation = 0;
    for round in 1..=4 {
        let ledger = place.open(1).await;
        for _ in 0..10 {
            operation += 1;
            append(&ledger, command(operation, COUNT)).await;
        }
        assert_eq!(value(&ledger, "n"), Some((round * 10).to_string()));
        let before = status(&ledger, Shard::REGISTRY);
        drop(ledger);
        let ledger = place.open(1).await;
        let after = following(&ledger, Shard::REGISTRY).await;
        assert_eq!((after.applied, &after.hash), (before.applied, &before.hash));
    }
}

pub(crate) async fn what_is_too_large_is_refused<F: Factory>() {
    let place = F::make().await;
    let ledger = place.open(1).await;
    let too_large = append_to(&ledger, Shard::REGISTRY, command(1, &put("k", &"x".repeat(MAX_COMMAND_BYTES)))).await;
    assert_eq!(kind(too_large), ErrorKind::TooLarge);
    let room = MAX_COMMAND_BYTES - 1024;
    let large = append(&ledger, command(2, &put("k", &"x".repeat(room)))).await;
    assert!(large.outcome.is_ok());
    assert_eq!(value(&ledger, "k").unwrap().len(), room);
}

pub(crate) async fn large_values_come_back<F: Factory>() {
    let place = F::make().await;
    let ledger = place.open(1).await;
    let sizes = [1024 * 1024, 61_440, 61_441, 0, 300_000];
    for (operation, bytes) in (1..).zip(sizes) {
        append(&ledger, command(operation, &format!(r#"{{"do":"fill","key":"k{operation}","bytes":{bytes}}}"#))).await;
    }
    drop(ledger);
    let ledger = place.open(1).await;
    following(&ledger, Shard::REGISTRY).await;
    let found = look(&ledger, Shard::REGISTRY, |view| view.scan(b"k", None, 100).unwrap()).0;
    let found: Vec<usize> = found.into_iter().map(|(_, value)| value.len()).collect();
    assert_eq!(found, sizes);
    let page = look(&ledger, Shard::REGISTRY, |view| view.scan(b"k", Some(b"k2"), 2).unwrap()).0;
    assert_eq!(page.iter().map(|(key, _)| key.as_slice()).collect::<Vec<_>>(), [b"k3", b"k4"]);
}

pub(crate) async fn a_newer_command_stops_the_shard<F: Factory>() {
    let place = F::make().await;
    let newer = |operation| spanwire_model::Command { version: 2, ..command(operation, COUNT) };
    let new = place.open(2).await;
    append(&new, command(1, COUNT)).await;
    append(&new, newer(2)).await;
    let other = Shard { book: Book::Context, number: 1 };
    // A node that does not understand a log makes no others.
    following(&new, other).await;
    drop(new);
    // The program as it was before: it must not go on from what it does not understand.
    let old = place.open(1).await;
    let status = settled(&old, Shard::REGISTRY).await;
    assert_eq!(status.state, ShardState::Stopped);
    assert!(status.detail.as_deref().unwrap().contains("version 2, known is 1"), "{status:?}");
    let refused = old.append(Shard::REGISTRY, command(3, COUNT), soon()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    assert!(refused.public.contains("upgrade"), "{}", refused.public);
    assert!(append_to(&old, other, command(4, COUNT)).await.is_ok(), "other shards go on");
    assert_eq!(kind(old.append(other, newer(5), soon()).await), ErrorKind::InvalidParams);
    drop(old);
    let new = place.open(2).await;
    assert_eq!(number(&append(&new, newer(6)).await), 3, "nothing was skipped, and nothing came in between");
}

pub(crate) async fn a_deadline_leaves_no_doubt<F: Factory>() {
    let place = F::make().await;
    let ledger = shared(&place).await;
    for operation in 1..=50_u128 {
        let deadline = Instant::now() + Duration::from_micros(u64::try_from(operation).unwrap() * 40);
        match ledger.append(Shard::REGISTRY, command(operation, COUNT), deadline).await {
            Ok(receipt) => assert_eq!(u128::from(number(&receipt)), operation),
            Err(error) => {
                assert!([ErrorKind::DeadlineExceeded, ErrorKind::Overloaded].contains(&error.kind), "{error:?}");
                // Asking again finds out: it is applied once, now or then.
                let receipt = append(&*ledger, command(operation, COUNT)).await;
                assert_eq!(u128::from(number(&receipt)), operation);
            }
        }
    }
    assert_eq!(value(&*ledger, "n").as_deref(), Some("50"));
}

pub(crate) async fn a_caller_that_went_away_leaves_no_doubt<F: Factory>() {
    let place = F::make().await;
    let ledger = shared(&place).await;
    for operation in 1..=30_u128 {
        let mut appending = Box::pin(ledger.append(Shard::REGISTRY, command(operation, COUNT), soon()));
        for _ in 0..operation % 5 {
            if futures::poll!(&mut appending).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(appending);
        assert_eq!(u128::from(number(&append(&*ledger, command(operation, COUNT)).await)), operation);
    }
}

pub(crate) async fn shards_do_not_meet<F: Factory>() {
    let place = F::make().await;
    let ledger = place.open(1).await;
    for (operation, shard) in (1..).zip(Shard::all()) {
        append_to(&ledger, shard, command(operation, &put("k", &shard.to_string()))).await.unwrap();
        let receipt = append_to(&ledger, shard, command(100, COUNT)).await.unwrap();
        assert_eq!(number(&receipt), 1, "an operation is known to its own shard");
    }
    for shard in Shard::all() {
        let (found, _) = look(&ledger, shard, |view| view.get(b"k").unwrap());
        assert_eq!(found.unwrap(), shard.to_string().into_bytes());
    }
    assert_eq!(ledger.status().len(), Shard::all().count());
}

pub(crate) async fn an_append_is_a_span<F: Factory>() {
    let place = F::make().await;
    let ledger = place.open(1).await;
    let mut traced = command(1, COUNT);
    let parent = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None).unwrap();
    traced.author.trace = Some(parent.clone());
    let receipt = append(&ledger, traced).await;
    let spans = until(|| {
        let spans = place.telemetry().ring().trace(parent.trace_id);
        spans.filter(|spans| !spans.is_empty())
    })
    .await;
    let span = spans.iter().find(|span| span.name == "ledger append").unwrap();
    assert_eq!(span.parent_span_id, Some(parent.span_id));
    let attribute = |key| span.attributes.iter().find(|(name, _)| *name == key).map(|(_, value)| format!("{value:?}"));
    assert!(attribute("spanwire.ledger.sequence").unwrap().contains(&receipt.sequence.to_string()));
    assert!(attribute("spanwire.ledger.outcome").unwrap().contains("applied"));
    let metrics = place.telemetry().metrics().encode_openmetrics();
    assert!(metrics.contains(r#"spanwire_ledger_appends_total{shard="registry.0",outcome="applied"} 1"#), "{metrics}");
}
