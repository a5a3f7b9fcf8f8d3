//! What is read.

use spanwire_model::ReadLevel;

use super::*;
use crate::testing::{command, put};

const PAIR: &str = r#"{"do":"pair","one":"a","two":"b"}"#;

pub(crate) async fn reads_are_as_current_as_asked<F: Factory>() {
    let place = F::make().await;
    let ledger = shared(&place).await;
    let shard = Shard::REGISTRY;
    for operation in 1..=20 {
        let receipt = append(&*ledger, command(operation, &put("k", &operation.to_string()))).await;
        for level in [ReadLevel::Local, ReadLevel::AtLeast(receipt.sequence), ReadLevel::Linearizable] {
            let reached = ledger.reach(shard, level, soon()).await.unwrap();
            assert!(reached >= receipt.sequence, "{level:?}");
            assert_eq!(value(&*ledger, "k"), Some(operation.to_string()));
        }
    }
    let ahead = ledger.reach(shard, ReadLevel::Local, soon()).await.unwrap() + 5;
    let past = ledger.reach(shard, ReadLevel::AtLeast(ahead), Instant::now()).await;
    assert_eq!(kind(past), ErrorKind::DeadlineExceeded);
    let waiting = {
        let ledger = ledger.clone();
        tokio::spawn(async move { ledger.reach(shard, ReadLevel::AtLeast(ahead), soon()).await })
    };
    for operation in 100..110 {
        append(&*ledger, command(operation, PAIR)).await;
    }
    assert!(waiting.await.unwrap().unwrap() >= ahead);
}

pub(crate) async fn readers_see_whole_entries<F: Factory>() {
    let place = F::make().await;
    let ledger = shared(&place).await;
    let writing = {
        let ledger = ledger.clone();
        tokio::spawn(async move {
            at_once(4, |writer| {
                let ledger = ledger.clone();
                async move {
                    for index in 0..40 {
                        append(&*ledger, command(u128::from(writer * 100 + index) + 1, PAIR)).await;
                    }
                }
            })
            .await;
        })
    };
    let mut last = 0;
    let mut looks = 0;
    while !writing.is_finished() || looks == 0 {
        let pair = |view: &dyn View| {
            let one = view.get(b"a").unwrap();
            let scanned = view.scan(b"", None, 10).unwrap();
            let two = view.get(b"b").unwrap();
            assert!(scanned.iter().all(|(_, value)| Some(value) == one.as_ref()), "{one:?}, {scanned:?}");
            (one, two)
        };
        let ((one, two), sequence) = look(&*ledger, Shard::REGISTRY, pair);
        assert_eq!(one, two, "at {sequence}");
        let written = one.map_or(0, |value| String::from_utf8(value).unwrap().parse::<u64>().unwrap());
        assert!(written <= sequence && sequence >= last, "{written}, {sequence}, {last}");
        last = sequence;
        looks += 1;
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
}

pub(crate) async fn watchers_are_told<F: Factory>() {
    let place = F::make().await;
    let ledger = shared(&place).await;
    let mut applied = ledger.applied(Shard::REGISTRY);
    let watching = tokio::spawn(async move {
        let mut last = *applied.borrow_and_update();
        let mut seen = 0;
        while last < 30 {
            tokio::time::timeout(PATIENCE, applied.changed()).await.unwrap().unwrap();
            let next = *applied.borrow_and_update();
            assert!(next >= last, "{next} after {last}");
            last = next;
            seen += 1;
        }
        seen
    });
    for operation in 1..=30 {
        let receipt = append(&*ledger, command(operation, PAIR)).await;
        assert!(*ledger.applied(Shard::REGISTRY).borrow() >= receipt.sequence, "what has a receipt is applied");
    }
    assert!(watching.await.unwrap() > 0);
}
