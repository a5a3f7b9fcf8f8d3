//! `spanwire stdio`: a stdio MCP server in front of the node's HTTP endpoint.

use spanwire_http::bridge::BridgeError;

use crate::{
    cli::Context,
    client,
    config::{self, Config, Secret},
    failure::Failure,
};

/// Arguments of `spanwire stdio`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A view instead of all servers
    #[arg(long, value_name = "VIEW")]
    view: Option<String>,
    /// MCP endpoint of the node [default: what the configuration listens on, else http://127.0.0.1:7400/mcp]
    #[arg(long, env = "SPANWIRE_URL", value_name = "URL")]
    url: Option<String>,
}

/// Carries messages between stdin, stdout and the node until stdin ends.
pub(crate) async fn run(args: Args, context: &mut Context) -> Result<(), Failure> {
    let endpoint = endpoint(args, context);
    bridge(endpoint, context.token()).await
}

fn endpoint(args: Args, context: &Context) -> String {
    let base = args.url.unwrap_or_else(|| {
        let text = context.config_path().and_then(|path| std::fs::read_to_string(path).ok());
        let config: Config = text.and_then(|text| config::parse(&text, "").ok()).unwrap_or_default();
        format!("http://{}/mcp", client::reachable(config.listen.http, config::Listen::default().http))
    });
    match args.view {
        Some(view) => format!("{}/{view}", base.trim_end_matches('/')),
        None => base,
    }
}

/// The one call site of the bridge.
async fn bridge(endpoint: String, token: Option<&Secret>) -> Result<(), Failure> {
    let token = token.map(|token| token.expose().to_owned());
    let ended = spanwire_http::bridge::run(endpoint, token, tokio::io::stdin(), tokio::io::stdout()).await;
    ended.map_err(|error| match error {
        BridgeError::Endpoint(_) | BridgeError::Token => Failure::usage(error.to_string()),
        BridgeError::Client(_) => Failure::failed(error.to_string()),
        // The host is gone: that is how a session on stdio ends.
        BridgeError::Stdout(error) => error.into(),
    })
}
