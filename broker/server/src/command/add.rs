//! `spanwire add`: a server in the registry, which all nodes share and which outlives their restarts.

use spanwire_model::{NodeId, Placement, ServerId};
use spanwire_rpc::v1;

use crate::{
    cli::Context,
    config::{Era, Place, Secret, ServerTable},
    failure::Failure,
};

/// Arguments of `spanwire add`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "spanwire add NAME [OPTIONS] -- COMMAND [ARG]...\n       spanwire add NAME [OPTIONS] --url URL"
)]
pub(crate) struct Args {
    /// Id of the server: 1 to 32 of a-z, 0-9 and -, beginning with a letter
    name: ServerId,
    /// Program and its arguments. ${VAR} is resolved by the node
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
    /// Streamable HTTP endpoint instead of a program
    #[arg(long)]
    url: Option<String>,
    /// Header sent with each request to the URL
    #[arg(long = "header", value_name = "K=V", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// Variable set for the program
    #[arg(long = "env", value_name = "K=V", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Variable that the program inherits from the node
    #[arg(long = "inherit-env", value_name = "NAME")]
    inherit_env: Vec<String>,
    /// Working folder of the program
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Which protocol era is spoken to it
    #[arg(long, value_enum, default_value_t = Era::Auto)]
    era: Era,
    /// Calls that it may have in flight
    #[arg(long, value_name = "N")]
    max_in_flight: Option<usize>,
    /// Longest that one call may take, in milliseconds
    #[arg(long, value_name = "MS")]
    call_timeout_ms: Option<u64>,
    /// Which nodes may run it
    #[arg(long, value_enum, default_value_t = Place::Here)]
    placement: Place,
    /// How many nodes run it at a time, with --placement any
    #[arg(long, value_name = "N")]
    replicas: Option<u16>,
    /// Node that runs it; the one that is asked if left out
    #[arg(long, value_name = "NODE")]
    on: Option<NodeId>,
    /// Take the place of a server of the same id
    #[arg(long)]
    replace: bool,
}

/// `K=V`; headers may also be written `K: V`.
fn pair(text: &str) -> Result<(String, String), String> {
    let at = text.find(['=', ':']).filter(|at| *at > 0).ok_or("write it as K=V")?;
    Ok((text[..at].trim().to_owned(), text[at + 1..].trim_start().to_owned()))
}

/// Adds the server and says where it is seen.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let (id, replace, on) = (args.name.clone(), args.replace, args.on.clone());
    if let (Place::Any, Some(on)) = (args.placement, &on) {
        return Err(Failure::usage(format!("server \"{id}\" is placed on any node, and on \"{on}\": keep one")));
    }
    let table = table(args);
    let spec = spec(&id, &table).map_err(|what| Failure::usage(format!("server \"{id}\" {what}")))?;
    let mut broker = context.target().connect().await?;
    let node = on.map(|on| on.to_string()).unwrap_or_default();
    let request = v1::AddServerRequest { spec: Some(spec), replace, node };
    let server = broker.add_server(request).await?.into_inner().server;
    if context.out.json {
        let server = server.as_ref().map(super::servers::to_json);
        context.out.document(&serde_json::json!({ "added": id, "server": server }))?;
    } else {
        context.out.line(format!("added {id}: see \"spanwire servers\" for how it is"))?;
    }
    Ok(())
}

fn table(args: Args) -> ServerTable {
    let secrets =
        |pairs: Vec<(String, String)>| pairs.into_iter().map(|(key, value)| (key, Secret::new(value))).collect();
    let mut command = args.command.into_iter();
    ServerTable {
        command: command.next(),
        args: command.collect(),
        env: secrets(args.env),
        inherit_env: args.inherit_env,
        cwd: args.cwd,
        url: args.url,
        headers: secrets(args.headers),
        era: args.era,
        max_in_flight: args.max_in_flight,
        call_timeout_ms: args.call_timeout_ms,
        placement: args.placement,
        replicas: args.replicas,
        enabled: true,
    }
}

/// The table as the control API takes it, or why it is no server.
pub(crate) fn spec(id: &ServerId, table: &ServerTable) -> Result<v1::ServerSpec, &'static str> {
    use v1::server_spec::Target;
    let spec = table.to_spec(id)?;
    let target = match spec.target {
        spanwire_model::Target::Stdio(stdio) => Target::Stdio(v1::StdioTarget {
            command: stdio.command,
            args: stdio.args,
            env: stdio.env,
            inherit_env: stdio.inherit_env,
            cwd: stdio.cwd.unwrap_or_default(),
        }),
        spanwire_model::Target::Http(http) => Target::Http(v1::HttpTarget { url: http.url, headers: http.headers }),
        spanwire_model::Target::Builtin(_) => return Err("is a part of the broker"),
    };
    let era = match table.era {
        Era::Auto => v1::Era::Unspecified,
        Era::Modern => v1::Era::Modern,
        Era::Legacy => v1::Era::Legacy,
    };
    Ok(v1::ServerSpec {
        id: id.to_string(),
        target: Some(target),
        era: era.into(),
        max_in_flight: table.max_in_flight.map_or(0, |limit| u32::try_from(limit).unwrap_or(u32::MAX)),
        call_timeout_ms: table.call_timeout_ms.unwrap_or_default(),
        placement: match spec.placement {
            Placement::Here => v1::Placement::Here,
            Placement::Any => v1::Placement::Any,
        }
        .into(),
        replicas: spec.replicas.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let check = |text: &str, expected: Result<(&str, &str), ()>| {
            let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
            assert_eq!(pair(text).map_err(|_| ()), expected, "{text}");
        };
        check("A=b=c", Ok(("A", "b=c")));
        check("Authorization: Bearer x", Ok(("Authorization", "Bearer x")));
        check("A=", Ok(("A", "")));
        check("A", Err(()));
        check("=b", Err(()));
    }
}
