//! What an older version kept in the store of this node goes into the registry, once.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use spanwire_mcp::Json;
use spanwire_model::{Error, ErrorKind, Result, ServerId, ServerSpec, Store};
use uuid::Uuid;

use crate::{Handle, machine::Change, owner::Command, register::Register, store::books};

/// Pause before the first attempt that follows one which failed; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Appends the servers as records of this node. They run meanwhile, whether the ledger is in reach or not. One that is removed meanwhile
/// is in the store no longer, and stays removed.
pub(crate) async fn run(handle: Handle, register: Register, store: Arc<dyn Store>, kept: Vec<ServerSpec>) {
    for spec in kept {
        let id = spec.id.clone();
        let mut pause = FIRST_PAUSE;
        loop {
            let result = tokio::select! {
                () = handle.stopping().cancelled() => return,
                result = append_kept(&register, &*store, &spec) => result,
            };
            match result {
                Ok(false) => break,
                Ok(true) => {
                    tracing::info!(server = %id, "is in the registry now");
                    handle.tell(Command::Migrated(id)).await;
                    break;
                }
                Err(error) if is_final(&error) => {
                    tracing::error!(
                        server = %id,
                        "was added to this node by an older version, and cannot go into the registry: {error}. It goes on running \
                         here; \"spanwire remove {id}\" forgets both"
                    );
                    break;
                }
                Err(error) => tracing::warn!(server = %id, "is not in the registry yet: {error}"),
            }
            tokio::select! {
                () = handle.stopping().cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }
}

/// False when the store does not have it any more.
async fn append_kept(register: &Register, store: &dyn Store, spec: &ServerSpec) -> Result<bool> {
    if store.get(&books::server_key(&spec.id)).map_err(books::failed)?.is_none() {
        return Ok(false);
    }
    append(register, spec).await.map(|()| true)
}

async fn append(register: &Register, spec: &ServerSpec) -> Result<()> {
    let spec_json = Json::from_serialize(spec).map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
    let operation = operation(register.node.as_str(), &spec.id, &spec_json);
    let home = Some(register.node.clone());
    let change = Change::PutServer { spec: spec_json.clone(), home: home.clone(), replace: false };
    match register.append(operation, &change).await {
        // The registry may remember what we did for longer than the operation.
        Err(error) if error.kind == ErrorKind::Conflict => {
            let (_, servers) = register.servers()?;
            let there = servers.into_iter().find(|(id, _)| *id == spec.id).and_then(|(_, record)| record);
            match there {
                Some(record) if (register.owns_all || record.home == home) && record.spec == spec_json => Ok(()),
                Some(_) | None => Err(error),
            }
        }
        result => result.map(drop),
    }
}

/// True when trying again would end in the same way.
fn is_final(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Conflict | ErrorKind::QuotaExceeded | ErrorKind::InvalidParams)
}

/// The same for each attempt, also after a restart.
fn operation(node: &str, id: &ServerId, spec: &Json) -> Uuid {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, node, id.as_str(), spec.as_str()).hash(&mut hasher);
        hasher.finish()
    };
    Uuid::from_u64_pair(half(0), half(1))
}
