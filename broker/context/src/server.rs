//! The context as an MCP server of the broker's own: tools for models, resources for those who follow.
//!
//! It is a server like any other to the router: canonical calls come in, replies go out, and dropping one cancels it. What a principal may
//! not read is not there.

mod answer;
mod arguments;
mod completion;
mod listen;
mod resources;
mod tools;
mod uri;
mod wanted;
mod work;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use spanwire_mcp::{Json, Method, ObjectWriter, Params, Revision, meta, string_literal};
use spanwire_model::{
    Author, Connected, Error, ErrorKind, Notice, Outcome, Reply, Result, ServerFacts, Upstream, UpstreamCall,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{Contexts, OnBehalf};

/// What a model is told.
const INSTRUCTIONS: &str = "A memory that agents and their tools share. A space holds keys, a key holds a JSON value, and every change is \
kept in the space's log with who made it and in which trace. Read before you write, and write with if_version (or if_absent) so that \
nothing of others is lost: a conflict says what is there instead. append never conflicts: use it for notes and findings. The resource \
ctx://{space}/{key} is a key, ctx://{space} the list of a space's keys; both tell of changes.";

/// How much sooner than its call a write gives up: so that its error is heard, which says how to find out what became of it.
const MARGIN: Duration = Duration::from_millis(100);

/// How long a client may keep the lists, which never change while the program runs, in milliseconds.
const LISTS_TTL_MS: u32 = 3_600_000;

/// The context of this node as a server, for [`spanwire_model::Target::Builtin`]. It works until it is closed.
pub fn connect(contexts: &Contexts) -> Connected {
    let (told, notices) = mpsc::channel(1);
    let facts = ServerFacts {
        revision: Revision::CANONICAL,
        info: Json::from_trusted(INFO),
        capabilities: Json::from_trusted(CAPABILITIES),
        instructions: Some(INSTRUCTIONS.to_owned()),
    };
    let server = Server { contexts: contexts.clone(), stop: CancellationToken::new(), told: Mutex::new(Some(told)) };
    Connected { upstream: Arc::new(server), facts, notices }
}

const INFO: &str = concat!(
    "{\"name\":\"spanwire-context\",\"title\":\"Shared context\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"}"
);
const CAPABILITIES: &str = "{\"tools\":{},\"resources\":{\"subscribe\":true},\"completions\":{}}";

struct Server {
    contexts: Contexts,
    /// Cancelled when it is closed.
    stop: CancellationToken,
    /// Gone when it is closed.
    told: Mutex<Option<mpsc::Sender<Notice>>>,
}

#[async_trait]
impl Upstream for Server {
    fn call(&self, call: UpstreamCall) -> Reply {
        if self.stop.is_cancelled() {
            return Reply::ready(Err(Error::new(ErrorKind::Unavailable, "the shared context is closed")));
        }
        let asked = Asked::by(&self.contexts, &call);
        if call.method == Method::Listen {
            return listen::listen(asked.behalf, &call.params, self.stop.clone());
        }
        let stop = self.stop.clone();
        Reply::once(async move {
            tokio::select! {
                outcome = answer(asked, call) => outcome,
                () = stop.cancelled() => Err(Error::new(ErrorKind::StreamLost, "the shared context was closed")),
            }
        })
    }

    async fn close(&self) {
        self.stop.cancel();
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(told) = told {
            // Nobody listens any more, or there is room: it is the only notice.
            let _ = told.try_send(Notice::Closed("the shared context was closed".into()));
        }
    }
}

/// Who asked, and until when.
struct Asked {
    behalf: OnBehalf,
    deadline: Instant,
}

impl Asked {
    fn by(contexts: &Contexts, call: &UpstreamCall) -> Self {
        let author = Author {
            principal: call.principal.clone(),
            node: contexts.node().clone(),
            call: Some(call.call_id),
            trace: call.trace.clone(),
        };
        let deadline = call.deadline.checked_sub(MARGIN).unwrap_or(call.deadline);
        Self { behalf: contexts.on_behalf(author), deadline }
    }
}

async fn answer(asked: Asked, call: UpstreamCall) -> Outcome {
    let params = Params::read(Some(&call.params)).map_err(|text| Error::new(ErrorKind::InvalidParams, text))?;
    let uri = || params.uri.as_deref().ok_or_else(|| Error::new(ErrorKind::InvalidParams, "a resource needs a uri"));
    match &call.method {
        Method::Discover => Ok(discover()),
        Method::ToolsList => Ok(list("tools", tools::listing())),
        Method::ToolsCall => {
            let name = params.name.as_deref().unwrap_or_default();
            work::call(&asked, name, call.params.get("arguments")).await
        }
        Method::ResourcesList => Ok(list("resources", "[]")),
        Method::ResourceTemplatesList => Ok(list("resourceTemplates", resources::TEMPLATES)),
        Method::ResourcesRead => resources::read(&asked, uri()?).await,
        Method::Complete => {
            let reference = params.reference.as_ref().and_then(|reference| reference.uri.as_deref());
            completion::complete_argument(&asked, reference.unwrap_or_default(), &call.params).await
        }
        other => {
            let text = format!("the shared context has no method \"{}\"", other.as_str());
            Err(Error::new(ErrorKind::MethodNotFound, text))
        }
    }
}

/// 2026-07-28, server/discover.
fn discover() -> Json {
    let mut out = complete(1024);
    out.member("supportedVersions", format!("[\"{}\"]", Revision::CANONICAL.as_str()).as_bytes());
    out.member("capabilities", CAPABILITIES.as_bytes());
    out.member("instructions", string_literal(INSTRUCTIONS).as_bytes());
    kept(&mut out);
    let mut about = ObjectWriter::with_capacity(128);
    about.member(meta::SERVER_INFO, INFO.as_bytes());
    out.member("_meta", about.finish().as_bytes());
    out.finish()
}

fn list(member: &str, entries: &str) -> Json {
    let mut out = complete(entries.len() + 128);
    out.member(member, entries.as_bytes());
    kept(&mut out);
    out.finish()
}

/// A result, begun.
fn complete(capacity: usize) -> ObjectWriter {
    let mut out = ObjectWriter::with_capacity(capacity);
    out.member("resultType", b"\"complete\"");
    out
}

/// What is the same for everybody may be kept (2026-07-28, server/utilities/caching).
fn kept(out: &mut ObjectWriter) {
    out.member("ttlMs", LISTS_TTL_MS.to_string().as_bytes());
    out.member("cacheScope", b"\"public\"");
}

/// What is written here always is JSON; this says so to the compiler.
fn json_of<T: serde::Serialize>(value: &T) -> Result<Json> {
    Json::from_serialize(value)
        .map_err(|error| Error::new(ErrorKind::Internal, "an answer of the context is no JSON").with_private(error))
}
