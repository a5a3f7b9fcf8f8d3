//! `spanwire remove`: a server out of the registry, on whatever node it runs.

use spanwire_rpc::v1;

use crate::{
    cli::Context,
    failure::{Exit, Failure},
    suggest,
};

/// Arguments of `spanwire remove`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Id of the server
    name: String,
}

/// Removes a server that was added.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let mut broker = context.target().connect().await?;
    let removed = broker.remove_server(v1::RemoveServerRequest { id: args.name.clone() }).await?.into_inner().removed;
    if !removed {
        let known = broker.list_servers(v1::ListServersRequest {}).await?.into_inner();
        let local = known.servers.iter().filter(|one| one.local).map(|one| one.id.as_str());
        let registered = known.wanted.iter().map(|one| one.id.as_str());
        let hint = suggest::did_you_mean(&args.name, local.chain(registered));
        let text = format!("the registry has no server \"{}\"{hint}", args.name);
        return Err(Failure::new(Exit::NotFound, text));
    }
    if context.out.json {
        context.out.document(&serde_json::json!({ "removed": args.name }))?;
    } else {
        context.out.line(format!("removed {}", args.name))?;
    }
    Ok(())
}
