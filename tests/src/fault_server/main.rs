//! `spanwire-fault-server [--legacy] [--mute METHOD]… [--journal FILE] [--http ADDR]`: the server that misbehaves, over stdio, or over
//! HTTP with its endpoint as the first line on stdout.
//!
//! `spanwire-fault-server --scripted TAPE REVISION [OLDER]`: instead, a scripted server over stdio.
//!
//! `spanwire-fault-server --ledger FOLDER disk|process`: instead, a process that writes to a ledger until it is killed. One binary for all,
//! since each costs a link.

use anyhow::{Context, bail};
use spanwire_ledger::Durability;
use spanwire_tests::{
    fault_server::{FaultServer, Options, serve_http, serve_stdio},
    ledger_writer, scripted,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut options, mut address) = (Options::default(), None);
    let mut args = std::env::args().skip(1).peekable();
    if args.next_if(|arg| arg == "--scripted").is_some() {
        return serve_scripted(args).await;
    }
    if args.next_if(|arg| arg == "--ledger").is_some() {
        return write_to_ledger(args).await;
    }
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--legacy" => options.legacy = true,
            "--mute" => options.mute.push(value()?),
            "--journal" => options.journal = Some(value()?.into()),
            "--http" => address = Some(value()?),
            other => bail!("unknown argument {other}"),
        }
    }
    let server = FaultServer::new(options)?;
    match address {
        None => {
            serve_stdio(server).await?;
            // A call that hangs must not keep the process.
            std::process::exit(0);
        }
        Some(address) => {
            let listener = tokio::net::TcpListener::bind(address).await?;
            println!("http://{}/mcp", listener.local_addr()?);
            Ok(serve_http(server, listener).await?)
        }
    }
}

async fn write_to_ledger(mut args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let folder = args.next().context("--ledger needs a folder")?;
    let durability = match args.next().as_deref() {
        Some("disk") => Durability::Disk,
        Some("process") => Durability::Process,
        other => bail!("--ledger needs a durability, not {other:?}"),
    };
    ledger_writer::run(folder.as_ref(), durability).await
}

async fn serve_scripted(mut args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let tape = args.next().context("--scripted needs a tape")?.into();
    let revision = args.next().context("--scripted needs a revision")?.parse()?;
    let also = args.next().map(|older| older.parse()).transpose()?;
    scripted::serve_stdio(scripted::Server::new(scripted::Options { revision, also, tape })?).await?;
    std::process::exit(0);
}
