//! `spanwire ctx`: the context that agents share.

mod input;
mod read;
mod refused;
mod show;
mod stream;
mod transaction;
mod write;

use spanwire_rpc::v1::{ContextRead, ContextReadLevel};
use tonic::{Request, metadata::MetadataValue};

use crate::{cli::Context, client::Contexts, failure::Failure};

/// Arguments of `spanwire ctx`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
    /// W3C trace context of the caller
    #[arg(
        long,
        global = true,
        env = "TRACEPARENT",
        value_name = "TRACEPARENT",
        default_value = "",
        hide_default_value = true
    )]
    traceparent: String,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the value of a key; who wrote it, when and in which trace goes to stderr.
    Get {
        /// The space
        space: String,
        /// The key
        key: String,
        #[command(flatten)]
        level: Level,
    },
    /// Set a key.
    Put(write::Put),
    /// Change a part of a value: an object is merged into it (RFC 7396), an array is a JSON patch (RFC 6902).
    Patch(write::Patch),
    /// Remove a key.
    Delete(write::Delete),
    /// Add to the end of an array; makes it when it is not there.
    Append(write::Append),
    /// Do several things at once, all or none.
    #[command(after_help = TRANSACTION)]
    Txn(write::Transaction),
    /// List the keys of a space.
    List(read::List),
    /// List what happened in a space, as far back as it is kept.
    Log(read::Log),
    /// Print what happens in a space, as it happens.
    Watch(stream::Watch),
    /// Print everything in a space as it was at one moment.
    Snapshot(stream::Snapshot),
    /// List the spaces.
    Spaces {
        /// Only spaces whose names begin with this
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
        /// Not older than any write that was acknowledged anywhere before
        #[arg(long)]
        linearizable: bool,
    },
    /// Show how full a space is, and what its quotas are.
    Describe {
        /// The space
        space: String,
        #[command(flatten)]
        level: Level,
    },
    /// Remove a space with everything in it.
    Drop(write::Drop),
}

/// What the file of `spanwire ctx txn` looks like.
const TRANSACTION: &str = r#"The file: what must hold, if anything, and what is then done.
  {
    "if": [
      {"key": "goal", "is": {"version": 7}},
      {"key": "lock", "is": "absent"}
    ],
    "do": [
      {"put":         {"key": "lock", "value": "me", "ttl_ms": 60000}},
      {"patch_merge": {"key": "goal", "patch": {"done": true}}},
      {"patch_json":  {"key": "plan", "patch": [{"op": "remove", "path": "/0"}]}},
      {"append":      {"key": "notes", "values": ["one", "two"]}},
      {"delete":      {"key": "draft"}}
    ]
  }
A key is "absent", "exists", or in a version; without "ttl_ms" it stays. A key stands in one entry of "do" at most.
One write, with all its values, has at most 900 KiB."#;

/// How current an answer must be.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Level {
    /// Wait until the node has applied this sequence: with that of an own write, the write is seen
    #[arg(long, value_name = "SEQUENCE", conflicts_with = "linearizable")]
    at_least: Option<u64>,
    /// Not older than any write that was acknowledged anywhere before
    #[arg(long)]
    linearizable: bool,
}

impl Level {
    fn to_message(self) -> ContextRead {
        let level = match self {
            Self { linearizable: true, .. } => ContextReadLevel::Linearizable,
            Self { at_least: Some(_), .. } => ContextReadLevel::AtLeast,
            Self { at_least: None, .. } => ContextReadLevel::Local,
        };
        ContextRead { level: level.into(), at_least: self.at_least.unwrap_or_default(), timeout_ms: 0 }
    }
}

/// Reads or changes the shared context.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let client = Client { contexts: context.target().contexts().await?, traceparent: args.traceparent };
    match args.what {
        What::Get { space, key, level } => read::get(client, space, key, level, context).await,
        What::Put(args) => write::put(client, args, context).await,
        What::Patch(args) => write::patch(client, args, context).await,
        What::Delete(args) => write::delete(client, args, context).await,
        What::Append(args) => write::append(client, args, context).await,
        What::Txn(args) => write::transaction(client, args, context).await,
        What::List(args) => read::list(client, args, context).await,
        What::Log(args) => read::log(client, args, context).await,
        What::Watch(args) => stream::watch(client, args, context).await,
        What::Snapshot(args) => stream::snapshot(client, args, context).await,
        What::Spaces { prefix, linearizable } => {
            // A sequence is of one shard, and spaces are in all of them.
            let level = Level { at_least: None, linearizable };
            read::spaces(client, prefix, level, context).await
        }
        What::Describe { space, level } => read::describe(client, space, level, context).await,
        What::Drop(args) => write::drop(client, args, context).await,
    }
}

/// The client, and the trace that its requests belong to.
struct Client {
    contexts: Contexts,
    traceparent: String,
}

impl Client {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let parent = Some(&self.traceparent).filter(|text| !text.is_empty());
        // One that is no header value is ignored like one that cannot be read.
        if let Some(parent) = parent.and_then(|text| text.parse::<MetadataValue<_>>().ok()) {
            request.metadata_mut().insert("traceparent", parent);
        }
        request
    }
}
