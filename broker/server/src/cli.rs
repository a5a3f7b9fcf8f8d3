//! The command line: one command, one file in `command/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    client::Target,
    command,
    config::Secret,
    failure::{Exit, Failure},
    output::{Out, Tone, clean, note, paint},
};

const AFTER_HELP: &str = "\
Output is text for people, or JSON with --json, short for --output json. Only after `call`, --json takes the arguments of the
tool: write `spanwire --json call …` or --output json for the raw result.

Exit codes:
  0  done
  1  the operation failed: a tool's error, access denied, a bad configuration
  2  the command line is wrong
  3  no node answers
  4  no such server, agent, tool, trace or key
  5  time ran out";

/// A message broker for AI agents and their MCP servers.
#[derive(Debug, Parser)]
#[command(name = "spanwire", version, after_help = AFTER_HELP, max_term_width = 120)]
#[command(disable_help_subcommand = true, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    /// Short for --output json, before the command.
    #[arg(long = "json", id = "json_before")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// Control API of the node [default: what the configuration listens on, else http://127.0.0.1:7401]
    #[arg(long, global = true, env = "SPANWIRE_NODE", value_name = "URL", help_heading = "Global")]
    node: Option<String>,
    /// Bearer token [default: the operator's token in the data folder, for a node on this machine]
    #[arg(
        long,
        global = true,
        env = "SPANWIRE_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Global"
    )]
    token: Option<String>,
    /// Configuration file [default: spanwire.toml here, else spanwire/config.toml in the user's configuration folder]
    #[arg(long, global = true, env = "SPANWIRE_CONFIG", value_name = "FILE", help_heading = "Global")]
    config: Option<PathBuf>,
    /// Form of the output
    #[arg(long, global = true, value_enum, default_value_t = Form::Text, help_heading = "Global")]
    output: Form,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, help_heading = "Global")]
    color: Color,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people.
    Text,
    /// One JSON document, or one a line where a command goes on.
    Json,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// `--json` after a command.
#[derive(Debug, Args)]
pub(crate) struct JsonFlag {
    /// Short for --output json
    #[arg(long = "json", id = "json_after", global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node.
    Up(WithJson<command::up::Args>),
    /// Run a node with demo servers, one traced workflow, then the urls.
    Demo(WithJson<command::demo::Args>),
    /// Take over MCP servers from a file of Claude, Cursor, VS Code or Codex.
    Import(WithJson<command::import::Args>),
    /// Add a server to the running node.
    Add(WithJson<command::add::Args>),
    /// Remove a server that was added.
    Remove(WithJson<command::remove::Args>),
    /// List the servers, and how they are.
    Servers(WithJson<command::servers::Args>),
    /// Register agents by their cards, and list them.
    Agents(WithJson<command::agents::Args>),
    /// List the tools.
    Tools(WithJson<command::tools::Args>),
    /// Call a tool.
    Call(command::call::Args),
    /// Read and change the context that agents share.
    Ctx(WithJson<command::ctx::Args>),
    /// Show how the node is.
    Status(WithJson<command::status::Args>),
    /// Write all that the running node keeps into one file.
    Backup(WithJson<command::backup::Args>),
    /// Make a node, or the logs of a cluster, from a backup.
    Restore(WithJson<command::restore::Args>),
    /// Look for what is wrong, and say what to do.
    Doctor(WithJson<command::doctor::Args>),
    /// Check a configuration file.
    Validate(WithJson<command::validate::Args>),
    /// Be an MCP server on stdin and stdout, for hosts that know only stdio.
    Stdio(command::stdio::Args),
    /// Show traces.
    Trace(WithJson<command::trace::Args>),
    /// One of the servers of the demo, on stdin and stdout.
    #[command(hide = true)]
    DemoServer(command::demo_server::Args),
}

/// A command with the flag `--json` after it.
#[derive(Debug, Args)]
struct WithJson<A: Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten)]
    json: JsonFlag,
}

/// What a command gets beside its own arguments.
pub(crate) struct Context {
    /// Where it prints.
    pub(crate) out: Out,
    /// The configuration file that was named.
    pub(crate) config: Option<PathBuf>,
    node: Option<String>,
    token: Option<Secret>,
}

impl Context {
    /// The node to speak to.
    pub(crate) fn target(&self) -> Target {
        Target::find(self.node.clone(), self.token.clone(), self.config.clone())
    }

    /// The token that was given, without looking for a file.
    pub(crate) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// The configuration file that was named, else the one at its default place.
    pub(crate) fn config_path(&self) -> Option<PathBuf> {
        self.config.clone().or_else(crate::config::default_config_path)
    }
}

impl Command {
    fn wants_json(&self) -> bool {
        match self {
            Self::Up(with) => with.json.json,
            Self::Demo(with) => with.json.json,
            Self::Import(with) => with.json.json,
            Self::Add(with) => with.json.json,
            Self::Remove(with) => with.json.json,
            Self::Servers(with) => with.json.json,
            Self::Agents(with) => with.json.json,
            Self::Tools(with) => with.json.json,
            Self::Ctx(with) => with.json.json,
            Self::Status(with) => with.json.json,
            Self::Backup(with) => with.json.json,
            Self::Restore(with) => with.json.json,
            Self::Doctor(with) => with.json.json,
            Self::Validate(with) => with.json.json,
            Self::Trace(with) => with.json.json,
            Self::Call(_) | Self::Stdio(_) | Self::DemoServer(_) => false,
        }
    }

    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Up(with) => command::up::run(with.args, context).await,
            Self::Demo(with) => command::demo::run(with.args, context).await,
            Self::Import(with) => command::import::run(with.args, context).await,
            Self::Add(with) => command::add::run(with.args, context).await,
            Self::Remove(with) => command::remove::run(with.args, context).await,
            Self::Servers(with) => command::servers::run(with.args, context).await,
            Self::Agents(with) => command::agents::run(with.args, context).await,
            Self::Tools(with) => command::tools::run(with.args, context).await,
            Self::Call(args) => command::call::run(args, context).await,
            Self::Ctx(with) => command::ctx::run(with.args, context).await,
            Self::Status(with) => command::status::run(with.args, context).await,
            Self::Backup(with) => command::backup::run(with.args, context).await,
            Self::Restore(with) => command::restore::run(with.args, context).await,
            Self::Doctor(with) => command::doctor::run(with.args, context).await,
            Self::Validate(with) => command::validate::run(with.args, context),
            Self::Stdio(args) => command::stdio::run(args, context).await,
            Self::Trace(with) => command::trace::run(with.args, context).await,
            Self::DemoServer(args) => command::demo_server::run(args).await,
        }
    }
}

/// Reads the command line, does what it says, and returns the exit code.
pub(crate) fn run() -> u8 {
    let cli = Cli::parse();
    match cli.global.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let json = cli.json || cli.global.output == Form::Json || cli.command.wants_json();
    let mut context = Context {
        out: Out::new(json),
        config: cli.global.config,
        node: cli.global.node,
        token: cli.global.token.filter(|token| !token.is_empty()).map(Secret::new),
    };
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(Box::pin(cli.command.run(&mut context)));
            // A blocking read of stdin cannot be stopped; the process ends anyway.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => 0,
        Err(failure) => report(&failure),
    }
}

fn report(failure: &Failure) -> u8 {
    if failure.exit != Exit::ClosedPipe {
        note(format!("{} {}", paint("error:", Tone::Bad), clean(&failure.text)));
        if let Some(hint) = &failure.hint {
            note(format!("{} {}", paint("hint:", Tone::Warn), clean(hint)));
        }
    }
    failure.exit as u8
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
