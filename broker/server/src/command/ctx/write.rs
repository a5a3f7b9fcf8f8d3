//! `put`, `patch`, `delete`, `append`, `txn`, `drop`.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use spanwire_rpc::v1::{
    ContextCondition, ContextDropSpaceRequest, ContextOperation, ContextWriteRequest, context_condition,
    context_operation::Change,
};
use uuid::Uuid;

use super::{Client, input, refused::failure, show, transaction};
use crate::{cli::Context, failure::Failure};

/// What a write is tied to.
#[derive(Debug, clap::Args)]
struct Terms {
    /// Only when the key is in this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    #[command(flatten)]
    repeat: Repeat,
}

/// How a write can be repeated.
#[derive(Debug, clap::Args)]
struct Repeat {
    /// A UUID: the same write with the same one is done once [default: a new one]
    #[arg(long, value_name = "UUID")]
    operation: Option<Uuid>,
}

impl Repeat {
    fn to_text(&self) -> String {
        self.operation.map(|id| id.to_string()).unwrap_or_default()
    }
}

/// Arguments of `spanwire ctx put`.
#[derive(Debug, clap::Args)]
pub(super) struct Put {
    /// The space; made by its first write
    space: String,
    /// The key
    key: String,
    /// The value: JSON, @FILE, or - for stdin
    #[arg(value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    terms: Terms,
    /// Only when the key is not there
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    /// How long it lives at least: 30s, 10m, 2h, 7d [default: for ever]
    #[arg(long, value_name = "DURATION", value_parser = input::duration)]
    ttl: Option<Duration>,
}

pub(super) async fn put(client: Client, args: Put, context: &mut Context) -> Result<(), Failure> {
    let change = Change::PutJson(input::json(&args.value)?);
    let ttl_ms = args.ttl.map_or(0, |ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let mut conditions = expecting(&args.key, args.terms.if_version);
    if args.if_absent {
        conditions.push(condition(&args.key, context_condition::Expect::Absent(true)));
    }
    let operation = ContextOperation { key: args.key, change: Some(change), ttl_ms };
    write(client, args.space, conditions, vec![operation], &args.terms.repeat, context).await
}

/// Arguments of `spanwire ctx patch`.
#[derive(Debug, clap::Args)]
pub(super) struct Patch {
    /// The space; made by its first write
    space: String,
    /// The key; one that is not there counts as an empty object
    key: String,
    /// An object to merge, or an array of operations: JSON, @FILE, or - for stdin
    #[arg(value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    patch: String,
    #[command(flatten)]
    terms: Terms,
}

pub(super) async fn patch(client: Client, args: Patch, context: &mut Context) -> Result<(), Failure> {
    let patch = input::json(&args.patch)?;
    let change = if patch.starts_with(b"[") { Change::PatchJson(patch) } else { Change::MergeJson(patch) };
    one(client, args.space, args.key, change, &args.terms, context).await
}

/// Arguments of `spanwire ctx delete`.
#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// The space
    space: String,
    /// The key
    key: String,
    #[command(flatten)]
    terms: Terms,
}

pub(super) async fn delete(client: Client, args: Delete, context: &mut Context) -> Result<(), Failure> {
    one(client, args.space, args.key, Change::Delete(true), &args.terms, context).await
}

/// Arguments of `spanwire ctx append`.
#[derive(Debug, clap::Args)]
pub(super) struct Append {
    /// The space; made by its first write
    space: String,
    /// The key
    key: String,
    /// The elements to add, each: JSON, @FILE, or - for stdin
    #[arg(value_name = "JSON|@FILE|-", required = true, allow_hyphen_values = true)]
    values: Vec<String>,
    #[command(flatten)]
    terms: Terms,
}

pub(super) async fn append(client: Client, args: Append, context: &mut Context) -> Result<(), Failure> {
    let values: Vec<Bytes> = args.values.iter().map(|value| input::json(value)).collect::<Result<_, _>>()?;
    let array = [&b"["[..], &values.join(&b","[..]), b"]"].concat();
    one(client, args.space, args.key, Change::AppendJson(array.into()), &args.terms, context).await
}

/// Arguments of `spanwire ctx txn`.
#[derive(Debug, clap::Args)]
pub(super) struct Transaction {
    /// The space; made by its first write
    space: String,
    /// A file with the transaction, or - for stdin
    #[arg(value_name = "FILE|-")]
    file: String,
    #[command(flatten)]
    repeat: Repeat,
}

pub(super) async fn transaction(client: Client, args: Transaction, context: &mut Context) -> Result<(), Failure> {
    let from = if args.file == "-" { args.file.clone() } else { format!("@{}", args.file) };
    let transaction: transaction::File = serde_json::from_slice(&input::json(&from)?).map_err(|error| {
        Failure::failed(format!("{}: not a transaction: {error}", args.file))
            .with_hint("its form is in \"spanwire ctx txn --help\"")
    })?;
    let (conditions, operations) = transaction.into_messages();
    write(client, args.space, conditions, operations, &args.repeat, context).await
}

fn condition(key: &str, expect: context_condition::Expect) -> ContextCondition {
    ContextCondition { key: key.to_owned(), expect: Some(expect) }
}

fn expecting(key: &str, version: Option<u64>) -> Vec<ContextCondition> {
    version.map(|version| condition(key, context_condition::Expect::Version(version))).into_iter().collect()
}

async fn one(
    client: Client,
    space: String,
    key: String,
    change: Change,
    terms: &Terms,
    context: &mut Context,
) -> Result<(), Failure> {
    let conditions = expecting(&key, terms.if_version);
    let operation = ContextOperation { key, change: Some(change), ttl_ms: 0 };
    write(client, space, conditions, vec![operation], &terms.repeat, context).await
}

async fn write(
    mut client: Client,
    space: String,
    conditions: Vec<ContextCondition>,
    operations: Vec<ContextOperation>,
    repeat: &Repeat,
    context: &mut Context,
) -> Result<(), Failure> {
    let request = ContextWriteRequest {
        space: space.clone(),
        conditions,
        operations,
        operation: repeat.to_text(),
        timeout_ms: 0,
    };
    let written = client.contexts.write(client.request(request)).await.map_err(failure)?.into_inner();
    if context.out.json {
        context.out.document(&show::written_json(&written))?;
        return Ok(());
    }
    for line in show::written_lines(&space, &written) {
        context.out.line(line)?;
    }
    Ok(())
}

/// Arguments of `spanwire ctx drop`.
#[derive(Debug, clap::Args)]
pub(super) struct Drop {
    /// The space
    space: String,
    /// Say that it is meant: nothing of it can be had back
    #[arg(long, required = true)]
    yes: bool,
    #[command(flatten)]
    repeat: Repeat,
}

pub(super) async fn drop(mut client: Client, args: Drop, context: &mut Context) -> Result<(), Failure> {
    let request =
        ContextDropSpaceRequest { space: args.space.clone(), operation: args.repeat.to_text(), timeout_ms: 0 };
    let dropped = client.contexts.drop_space(client.request(request)).await.map_err(failure)?.into_inner();
    if context.out.json {
        let all = json!({ "dropped": dropped.dropped, "keys": dropped.keys, "operation": dropped.operation });
        context.out.document(&all)?;
    } else if dropped.dropped {
        let keys = crate::output::count(usize::try_from(dropped.keys).unwrap_or(usize::MAX), "key");
        context.out.line(format!("space {} is gone, with {keys}", args.space))?;
    } else {
        context.out.line(format!("there was no space {}", args.space))?;
    }
    Ok(())
}
