//! One connector for all transports. A new transport is one line here.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use spanwire_context::Contexts;
use spanwire_http::client::{Config as HttpConfig, HttpConnector};
use spanwire_mcp::{Era, Json};
use spanwire_model::{Connected, Connector, Error, ErrorKind, Fence, Result, ServerId, ServerSpec, Target};
use spanwire_stdio::{Config as StdioConfig, StdioConnector};

use crate::config::CONTEXT_SERVER;

pub(super) struct Connectors {
    stdio: StdioConnector,
    http: HttpConnector,
    contexts: Option<Contexts>,
}

impl Connectors {
    /// Connectors whose servers may send messages of this many bytes, and keep a call that waits for its client's input for this
    /// long.
    pub(super) fn new(
        max_message_bytes: usize,
        input_timeout: Duration,
        contexts: Option<Contexts>,
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let info = format!("{{\"name\":\"spanwire\",\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION"));
        let info = Json::from_trusted(info);
        let mut stdio = StdioConfig { max_line_bytes: max_message_bytes, ..StdioConfig::new(program, info.clone()) };
        let mut http = HttpConfig { max_body_bytes: max_message_bytes, ..HttpConfig::new(info) };
        stdio.settings.waits.parked = input_timeout;
        http.settings.waits.parked = input_timeout;
        Ok(Self { stdio: StdioConnector::new(stdio), http: HttpConnector::new(http), contexts })
    }
}

#[async_trait]
impl Connector for Connectors {
    async fn connect(&self, spec: &ServerSpec, known: Option<Era>) -> Result<Connected> {
        match &spec.target {
            Target::Stdio(_) => self.stdio.connect(spec, known).await,
            Target::Http(_) => self.http.connect(spec, known).await,
            Target::Builtin(name) => match &self.contexts {
                Some(contexts) if **name == *CONTEXT_SERVER => Ok(spanwire_context::connect(contexts)),
                Some(_) | None => {
                    Err(Error::new(ErrorKind::Internal, format!("there is no builtin server \"{name}\"")))
                }
            },
        }
    }

    async fn connect_fenced(&self, spec: &ServerSpec, known: Option<Era>, fence: &Fence) -> Result<Connected> {
        match &spec.target {
            Target::Stdio(_) => self.stdio.connect_fenced(spec, known, fence).await,
            Target::Http(_) | Target::Builtin(_) => self.connect(spec, known).await,
        }
    }

    async fn gone(&self, server: &ServerId) {
        self.stdio.gone(server).await;
    }
}
