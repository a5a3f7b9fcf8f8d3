//! The connection of a command to its node: address, token, gRPC.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use spanwire_rpc::v1::{broker_client::BrokerClient, contexts_client::ContextsClient};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint, Uri},
};

use crate::{
    config::{self, Config, Secret},
    failure::{Exit, Failure},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Until the first bytes of an answer; a stream may then last.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The variable that `spanwire up --data` reads too.
const DATA_DIR: &str = "SPANWIRE_DATA_DIR";

/// A connected client of the control API.
pub(crate) type Broker = BrokerClient<InterceptedService<Channel, Bearer>>;

/// A connected client of the shared context.
pub(crate) type Contexts = ContextsClient<InterceptedService<Channel, Bearer>>;

/// Adds the token to each request.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Which node a command speaks to, and as whom.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// `http://host:port` of the control API.
    pub(crate) url: String,
    /// The operator's token.
    pub(crate) token: Option<Secret>,
}

impl Target {
    /// What flags and variables say; else what the configuration says; else the defaults. A token that was not given is
    /// read from the data folder, and sent to this machine only.
    pub(crate) fn find(node: Option<String>, token: Option<Secret>, config: Option<PathBuf>) -> Self {
        // A broken configuration must not keep `status` from working; `validate` is there to complain.
        let mut config = config
            .or_else(config::default_config_path)
            .and_then(|path| std::fs::read_to_string(path).ok())
            .and_then(|text| config::parse(&text, "").ok())
            .unwrap_or_default();
        config.node.data_dir = std::env::var_os(DATA_DIR).map(PathBuf::from).or(config.node.data_dir);
        let url =
            node.unwrap_or_else(|| format!("http://{}", reachable(config.listen.grpc, config::Listen::default().grpc)));
        let token = token.or_else(|| if is_loopback(&url) { token_file(&config) } else { None });
        Self { url, token }
    }

    /// Connects to the control API.
    pub(crate) async fn connect(&self) -> Result<Broker, Failure> {
        let (channel, bearer) = self.channel().await?;
        Ok(BrokerClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(spanwire_rpc::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(spanwire_rpc::MAX_MESSAGE_BYTES))
    }

    /// Connects to the shared context.
    pub(crate) async fn contexts(&self) -> Result<Contexts, Failure> {
        let (channel, bearer) = self.channel().await?;
        Ok(ContextsClient::with_interceptor(channel, bearer)
            .max_decoding_message_size(spanwire_rpc::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(spanwire_rpc::MAX_MESSAGE_BYTES))
    }

    async fn channel(&self) -> Result<(Channel, Bearer), Failure> {
        let endpoint = Endpoint::from_shared(self.url.clone()).map_err(|_| {
            Failure::usage(format!("--node \"{}\" is not a URL such as http://127.0.0.1:7401", self.url))
        })?;
        if endpoint.uri().scheme_str() != Some("http") {
            return Err(Failure::usage(format!("--node \"{}\" must begin with http://", self.url)));
        }
        let bearer = self.token.as_ref().map(|token| format!("Bearer {}", token.expose()).parse()).transpose();
        let bearer = bearer.map_err(|_| Failure::usage("the token holds characters that no token has"))?;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .connect()
            .await
            .map_err(|_| {
                Failure::new(Exit::Unreachable, format!("no node answers at {}", self.url))
                    .with_hint("start one with \"spanwire up\", or name another with --node")
            })?;
        Ok((channel, Bearer(bearer)))
    }
}

/// The token in the data folder, if there is one.
pub(crate) fn token_file(config: &Config) -> Option<Secret> {
    let text = std::fs::read_to_string(config.data_dir().join(config::TOKEN_FILE)).ok()?;
    Some(text.trim()).filter(|token| !token.is_empty()).map(Secret::new)
}

/// The address to dial for one that is listened on; the usual port where the listener takes any.
pub(crate) fn reachable(listening: SocketAddr, usual: SocketAddr) -> SocketAddr {
    let port = if listening.port() == 0 { usual.port() } else { listening.port() };
    let ip = match listening.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    };
    SocketAddr::new(ip, port)
}

fn is_loopback(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_file_is_for_this_machine() {
        for (url, local) in [
            ("http://127.0.0.1:7401", true),
            ("http://localhost:1", true),
            ("http://[::1]:1", true),
            ("http://127.0.0.1.example.com:1", false),
            ("http://localhost@example.com", false),
            ("http://10.0.0.1:1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(url), local, "{url}");
        }
    }
}
