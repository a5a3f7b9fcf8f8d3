//! `spanwire validate`.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    cli::Context,
    config::{Config, Overrides, Source},
    failure::Failure,
    output::{Tone, count, paint},
};

/// Arguments of `spanwire validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file [default: as for every command]
    file: Option<PathBuf>,
    /// Print the JSON schema of the configuration file instead
    #[arg(long)]
    schema: bool,
}

/// Checks a configuration file, or prints the schema.
pub(crate) fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    if args.schema {
        context.out.line(Config::schema().trim_end())?;
        return Ok(());
    }
    let Some(path) = args.file.or_else(|| context.config_path()) else {
        return Err(Failure::usage("there is no configuration file: name one, or write spanwire.toml"));
    };
    let shown = path.display().to_string();
    let loaded = Source { path: Some(path), overrides: Overrides::default() }.load();
    if context.out.json {
        let error = loaded.as_ref().err().map(ToString::to_string);
        context.out.document(&json!({ "file": shown, "valid": error.is_none(), "error": error }))?;
    }
    let (config, _) = loaded?;
    if !context.out.json {
        let enabled = config.servers.values().filter(|server| server.enabled).count();
        let facts =
            [count(enabled, "server"), count(config.views.len(), "view"), count(config.principals.len(), "principal")];
        context.out.line(format!("{} {shown}: {}", paint("ok", Tone::Good), facts.join(", ")))?;
    }
    Ok(())
}
