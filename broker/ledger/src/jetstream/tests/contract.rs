//! The laws of every ledger.

use std::sync::Arc;

use spanwire_model::Tenant;
use spanwire_telemetry::Telemetry;

use super::{harness::OneHolder, server::Server};
use crate::{
    JetStreamLedger, JetStreamOptions,
    applier::Options,
    contract::{self, Factory, contract},
    testing::{machines, open},
};

struct Cluster {
    server: Server,
    folder: tempfile::TempDir,
    leases: OneHolder,
    telemetry: Telemetry,
}

impl Factory for Cluster {
    type Ledger = JetStreamLedger;
    const CASES: u32 = 6;

    async fn make() -> Self {
        Self {
            server: Server::start().await,
            folder: tempfile::tempdir().unwrap(),
            leases: OneHolder::default(),
            telemetry: Telemetry::disabled("left".parse().unwrap()),
        }
    }

    async fn open(&self, version: u16) -> JetStreamLedger {
        let client = async_nats::connect(self.server.url()).await.unwrap();
        let store = open(&self.folder.path().join("store")).await;
        let node = "left".parse().unwrap();
        let folder = self.folder.path().join("ledger");
        let options = JetStreamOptions::new(Tenant::default(), "sw.v1", node, folder);
        let applying = Options { operations_kept: contract::OPERATIONS, ..Options::FOLLOWER };
        let (machines, leases) = (machines(version), Arc::new(self.leases.clone()));
        let ledger =
            JetStreamLedger::start_with(client, store, &machines, leases, self.telemetry.clone(), options, applying);
        ledger.await.unwrap()
    }

    fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }
}

contract!(Cluster);
