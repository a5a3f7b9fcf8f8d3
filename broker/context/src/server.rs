//! The context as an MCP server of the broker's own.

use std::sync::Arc;

use async_trait::async_trait;
use spanwire_mcp::{Json, Revision};
use spanwire_model::{Connected, Error, ErrorKind, Reply, ServerFacts, Upstream, UpstreamCall};
use tokio::sync::mpsc;

use crate::Contexts;

/// The context of this node as a server, for [`spanwire_model::Target::Builtin`].
pub fn connect(contexts: &Contexts) -> Connected {
    let (told, notices) = mpsc::channel(1);
    let facts = ServerFacts {
        revision: Revision::CANONICAL,
        info: Json::from_trusted(concat!(
            "{\"name\":\"spanwire-context\",\"version\":\"",
            env!("CARGO_PKG_VERSION"),
            "\"}"
        )),
        capabilities: Json::empty_object(),
        instructions: None,
    };
    Connected { upstream: Arc::new(Server { _contexts: contexts.clone(), _told: told }), facts, notices }
}

struct Server {
    _contexts: Contexts,
    _told: mpsc::Sender<spanwire_model::Notice>,
}

#[async_trait]
impl Upstream for Server {
    fn call(&self, call: UpstreamCall) -> Reply {
        let text = format!("no method \"{}\"", call.method.as_str());
        Reply::ready(Err(Error::new(ErrorKind::MethodNotFound, text)))
    }

    async fn close(&self) {}
}
