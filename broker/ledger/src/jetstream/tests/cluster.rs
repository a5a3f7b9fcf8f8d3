//! Three servers.

use spanwire_model::{ErrorKind, Ledger, ShardState};
use tokio::time::Instant;

use super::{
    harness::{PATIENCE, Recipe},
    server::Server,
};
use crate::testing::put;

const COUNT: &str = r#"{"do":"count","key":"n"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_servers_keep_the_log_and_any_two_of_them_go_on() {
    let mut servers = Server::start_three().await;
    let urls = servers.iter().map(Server::url).collect::<Vec<_>>().join(",");
    let recipe = Recipe::new(urls);
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (left, right) = (recipe.node("left", one.path()).await, recipe.node("right", two.path()).await);
    left.is(ShardState::Following).await;
    right.is(ShardState::Following).await;
    assert_eq!(left.status().replicas, 3);
    let mut counted = 0;
    for victim in [0, 2, 1] {
        servers[victim].kill();
        // Each operation again and again, from both nodes, until it is known to be there: as a caller would.
        for operation in 0..10_u128 {
            let id = 1 + u128::try_from(victim).unwrap() * 100 + operation;
            let node = if operation % 2 == 0 { &left } else { &right };
            let deadline = Instant::now() + PATIENCE;
            let receipt = loop {
                match node.append(id, COUNT).await {
                    Ok(receipt) => break receipt,
                    Err(error) => {
                        assert!([ErrorKind::Unavailable, ErrorKind::DeadlineExceeded].contains(&error.kind), "{error}");
                        assert!(Instant::now() < deadline, "no append within {PATIENCE:?}: {error}");
                        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    }
                }
            };
            counted += 1;
            assert_eq!(receipt.outcome.unwrap().read::<u64>().unwrap(), counted);
        }
        servers[victim].run().await;
        left.is(ShardState::Following).await;
        right.is(ShardState::Following).await;
        left.agrees_with(&right).await;
    }
    assert_eq!(left.value("n"), Some(counted.to_string()));
    assert_eq!((left.rebuilds(), right.rebuilds()), (0, 0));

    // One of three cannot confirm anything: it says so, refuses, and still reads.
    servers[0].kill();
    servers[1].kill();
    left.is(ShardState::CutOff).await;
    assert_eq!(left.append(1000, &put("a", "b")).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(left.value("n"), Some(counted.to_string()));
    servers[0].run().await;
    servers[1].run().await;
    left.is(ShardState::Following).await;
    let status = left.ledger.status();
    assert!(status.iter().all(|status| status.replicas == 3), "{status:?}");
}
