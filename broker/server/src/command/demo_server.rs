//! `spanwire demo-server`: one of the servers of the demo.

use crate::{demo, failure::Failure};

/// Arguments of `spanwire demo-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which one
    #[arg(value_enum)]
    name: Name,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Name {
    Weather,
    Notes,
}

/// Serves MCP on stdin and stdout until stdin ends.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    match args.name {
        Name::Weather => demo::serve(demo::Weather).await?,
        Name::Notes => demo::serve(demo::Notes::default()).await?,
    }
    Ok(())
}
