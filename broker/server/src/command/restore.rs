//! `spanwire restore`: a node, or the logs of a cluster, from a file that `spanwire backup` made.

use std::path::PathBuf;

use super::backup;
use crate::{
    cli::Context,
    config::{Overrides, Source},
    failure::Failure,
    node,
};

/// Arguments of `spanwire restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file that `spanwire backup` made
    file: PathBuf,
    /// Folder for state, of a node that does not run and has nothing in it yet [default: as for `spanwire up`]
    #[arg(long, env = "SPANWIRE_DATA_DIR", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Instead, make the logs of the cluster on these NATS servers, which has none yet, and leave the folder alone; its nodes take them up
    /// when they start
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

/// Restores where nothing is; what is there stays as it is.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let cluster = args.nats.is_some();
    // The variable may be set for other commands: it is no wish to restore a node, so it is no conflict.
    let data_dir = args.data.filter(|_| !cluster);
    let overrides = Overrides { data_dir, nats_url: args.nats, ..Overrides::default() };
    let (config, _) = Source { path: context.config_path(), overrides }.load()?;
    let restored = match cluster {
        true => node::restore_cluster(&config, &args.file).await?,
        false => node::restore(&config, &args.file).await?,
    };
    backup::show(&args.file, &restored, context)
}
