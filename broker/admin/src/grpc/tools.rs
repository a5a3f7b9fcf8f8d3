//! The tools that the operator may call. They come from `tools/list` calls like any other, so that names and policy are those of a call.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::Message;
use serde::Deserialize;
use spanwire_mcp::{Json, Method, string_literal};
use spanwire_model::{Dispatch, Inventory, Result};
use spanwire_rpc::{MAX_MESSAGE_BYTES, v1};
use tokio::time::{Duration, Instant};

use super::call;

/// How many tools are listed when the caller does not say.
const DEFAULT_LIMIT: u32 = 1000;
/// How many tools are listed at most.
const MAX_LIMIT: u32 = 10_000;
/// How many pages of the catalog are read at most.
const MAX_PAGES: usize = 1000;
/// Budget of reading the whole catalog.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What the tools of one answer may weigh, with room for the rest of the message.
const MAX_TOOLS_BYTES: usize = MAX_MESSAGE_BYTES - 1024 * 1024;

/// The members of a tool that are shown.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    name: String,
    #[serde(default)]
    title: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    input_schema: Json,
    #[serde(default)]
    output_schema: Json,
    #[serde(default)]
    annotations: Json,
}

/// Reads the list page by page and keeps what matches.
///
/// Errors: those of the `tools/list` call.
pub(super) async fn list(
    dispatch: &dyn Dispatch,
    inventory: &Inventory,
    request: &v1::ListToolsRequest,
) -> Result<v1::ListToolsResponse> {
    let deadline = Instant::now() + TIMEOUT;
    let mut page = Selection::new(inventory, request);
    let mut cursor: Option<Json> = None;
    for _ in 0..MAX_PAGES {
        let members: Vec<(&str, &[u8])> = cursor.iter().map(|cursor| ("cursor", &cursor.as_bytes()[..])).collect();
        let call = call::own(Method::ToolsList, &members, &request.view, deadline)?;
        let result = dispatch.dispatch(call).outcome().await?;
        for tool in result.get("tools").iter().flat_map(Json::elements) {
            match tool.read::<Listed>() {
                Ok(tool) => page.offer(tool),
                Err(error) => tracing::debug!("a listed tool cannot be read: {error}"),
            }
        }
        cursor = result
            .get("nextCursor")
            .and_then(|next| next.read::<String>().ok())
            .map(|next| Json::from_trusted(string_literal(&next)));
        if cursor.is_none() {
            return Ok(page.answer);
        }
    }
    page.answer.truncated = true;
    Ok(page.answer)
}

/// What matches, up to the limits.
struct Selection<'a> {
    owners: Owners<'a>,
    words: Vec<String>,
    server: &'a str,
    with_schemas: bool,
    limit: usize,
    bytes: usize,
    answer: v1::ListToolsResponse,
}

impl<'a> Selection<'a> {
    fn new(inventory: &'a Inventory, request: &'a v1::ListToolsRequest) -> Self {
        let limit = if request.limit == 0 { DEFAULT_LIMIT } else { request.limit.min(MAX_LIMIT) };
        Self {
            owners: Owners::new(inventory, &request.view),
            words: request.query.split_whitespace().map(str::to_lowercase).collect(),
            server: &request.server,
            with_schemas: !request.without_schemas,
            limit: limit as usize,
            bytes: 0,
            answer: v1::ListToolsResponse::default(),
        }
    }

    fn offer(&mut self, tool: Listed) {
        let server = self.owners.of(&tool.name);
        if (!self.server.is_empty() && server != self.server) || !self.matches(&tool) {
            return;
        }
        self.answer.total = self.answer.total.saturating_add(1);
        if self.answer.tools.len() >= self.limit {
            self.answer.truncated = true;
            return;
        }
        let object = |json: Json| if json.is_object() { json.as_bytes().clone() } else { Bytes::new() };
        let schema = |json: Json| if self.with_schemas { object(json) } else { Bytes::new() };
        let title = tool.title.or_else(|| tool.annotations.get("title")?.read().ok());
        let tool = v1::Tool {
            name: tool.name,
            server: server.to_owned(),
            nodes: self.owners.nodes(server),
            title: title.unwrap_or_default(),
            description: tool.description.unwrap_or_default(),
            input_schema_json: schema(tool.input_schema),
            output_schema_json: schema(tool.output_schema),
            annotations_json: object(tool.annotations),
        };
        self.bytes = self.bytes.saturating_add(tool.encoded_len());
        if self.bytes > MAX_TOOLS_BYTES {
            self.answer.truncated = true;
        } else {
            self.answer.tools.push(tool);
        }
    }

    fn matches(&self, tool: &Listed) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let text = [Some(&tool.name), tool.title.as_ref(), tool.description.as_ref()]
            .into_iter()
            .flatten()
            .map(|text| text.to_lowercase())
            .collect::<Vec<_>>()
            .join("\n");
        self.words.iter().all(|word| text.contains(word))
    }
}

/// Which server has a tool, found from its exposed name.
struct Owners<'a> {
    nodes: BTreeMap<&'a str, Vec<String>>,
    view: &'a str,
    by_own_name: HashMap<&'a str, Option<&'a str>>,
}

impl<'a> Owners<'a> {
    fn new(inventory: &'a Inventory, view: &'a str) -> Self {
        let mut nodes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut by_own_name: HashMap<&str, Option<&str>> = HashMap::new();
        for server in &inventory.servers {
            let id = server.id.as_str();
            let nodes = nodes.entry(id).or_default();
            if server.health.state.is_callable() {
                nodes.push(server.node.to_string());
            }
            for tool in &server.listing.tools {
                let owner = by_own_name.entry(&tool.name).or_insert(Some(id));
                // A name that two servers have says nothing.
                *owner = owner.filter(|first| *first == id);
            }
        }
        nodes.values_mut().for_each(|nodes| nodes.sort());
        Self { nodes, view, by_own_name }
    }

    /// The server, or nothing. In the view of one server and in a view without prefixes a name is the server's own.
    fn of(&self, exposed: &str) -> &'a str {
        if let Some((server, _)) = self.nodes.get_key_value(self.view) {
            return server;
        }
        if let Some((prefix, _)) = exposed.split_once("__")
            && let Some((server, _)) = self.nodes.get_key_value(prefix)
        {
            return server;
        }
        self.by_own_name.get(exposed).copied().flatten().unwrap_or_default()
    }

    fn nodes(&self, server: &str) -> Vec<String> {
        self.nodes.get(server).cloned().unwrap_or_default()
    }
}
