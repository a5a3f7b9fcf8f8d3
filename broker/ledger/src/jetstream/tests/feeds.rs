//! A log that is followed although no consumer brings its entries.

use spanwire_model::ShardState;

use super::{harness::Recipe, server::Server};
use crate::testing::put;

/// A server whose user `node` is everybody, and may do everything but make consumers.
const NO_CONSUMERS: &str = r#"
jetstream { store_dir: "FOLDER/jetstream" }
no_auth_user: node
authorization { users: [
    { user: node, password: secret, permissions: { publish: { deny: ["$JS.API.CONSUMER.CREATE.>"] } } }
] }
"#;

#[tokio::test]
async fn entries_arrive_without_any_consumer() {
    let server = Server::start_configured(NO_CONSUMERS).await;
    let folder = tempfile::tempdir().unwrap();
    let node = Recipe::new(server.url()).node("left", folder.path()).await;
    node.is(ShardState::Following).await;
    for operation in 1..=20 {
        let receipt = node.append(operation, &put("a", &operation.to_string())).await.unwrap();
        assert_eq!(u128::from(receipt.sequence), operation);
    }
    assert_eq!(node.value("a").as_deref(), Some("20"));
    node.ledger.close().await;
}
