//! `spanwire backup`: all that a running node keeps, in one file.

use std::{
    fs::{File, OpenOptions},
    io::{BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use spanwire_ledger::Backup;
use spanwire_rpc::v1::BackupRequest;

use crate::{
    cli::Context,
    failure::Failure,
    output::{Tone, count, paint},
};

/// Arguments of `spanwire backup`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to make
    file: PathBuf,
}

/// Fetches a backup, checks it, and only then gives it its name.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let Args { file } = args;
    if file.exists() {
        return Err(Failure::failed(format!("{} is there already", file.display())));
    }
    let mut name = file.file_name().ok_or_else(|| Failure::usage("name a file"))?.to_owned();
    name.push(".part");
    let part = file.with_file_name(name);
    let made = match fetch(&part, context).await {
        Ok(()) => spanwire_ledger::inspect(BufReader::new(File::open(&part)?))
            .map_err(|error| Failure::failed(format!("the backup did not arrive whole: {error}"))),
        Err(failure) => Err(failure),
    };
    let backup = match made {
        Ok(backup) => backup,
        Err(failure) => {
            // What there is of it is of no use; that it is gone is no news.
            let _ = std::fs::remove_file(&part);
            return Err(failure);
        }
    };
    std::fs::rename(&part, &file)?;
    show(&file, &backup, context)
}

/// Writes what the node sends. The file is for its owner only: it holds what clients wrote.
async fn fetch(part: &Path, context: &Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    let mut pieces = broker.backup(BackupRequest {}).await?.into_inner();
    let open = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part);
    let mut out = open.map_err(|error| Failure::failed(format!("cannot write {}: {error}", part.display())))?;
    while let Some(piece) = pieces.message().await? {
        out.write_all(&piece.data)?;
    }
    Ok(out.sync_all()?)
}

/// Says what is in a backup that was made or restored.
pub(super) fn show(file: &Path, backup: &Backup, context: &mut Context) -> Result<(), Failure> {
    if context.out.json {
        return Ok(context.out.document(&to_json(file, backup))?);
    }
    let entries: u64 = backup.shards.iter().map(|(_, last)| last).sum();
    let facts = [
        format!("{entries} entries"),
        count(backup.shards.len(), "shard"),
        format!("{} of the node's own", count(backup.own, "key")),
    ];
    Ok(context.out.line(format!("{} {}: {}", paint("ok", Tone::Good), file.display(), facts.join(", ")))?)
}

fn to_json(file: &Path, backup: &Backup) -> Value {
    let shards = backup.shards.iter().map(|(shard, last)| json!({ "shard": shard.to_string(), "last": last }));
    json!({
        "file": file.display().to_string(),
        "node": backup.node.as_str(),
        "own": backup.own,
        "shards": shards.collect::<Vec<_>>(),
    })
}
