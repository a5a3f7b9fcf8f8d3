//! A server written with rmcp, over Streamable HTTP: both eras on one endpoint.

use std::sync::Arc;

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, GetPromptRequestParams, GetPromptResponse,
        GetPromptResult, Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
        ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
        ServerCapabilities, ServerConfig,
    },
    service::RequestContext,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// A running server. It ends when it is dropped.
pub(super) struct RustPeer {
    url: String,
    task: JoinHandle<()>,
}

impl RustPeer {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let service = StreamableHttpService::new(
            || Ok(Server),
            Arc::new(LocalSessionManager::default()),
            StreamableHttpServerConfig::default(),
        );
        let app = axum::Router::new().route_service("/mcp", service);
        let task = tokio::spawn(async move { drop(axum::serve(listener, app).await) });
        Self { url, task }
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for RustPeer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Server;

/// The shapes are written as they stand on the wire; rmcp takes `resultType` off for legacy clients.
fn wire<T: DeserializeOwned>(mut value: Value) -> Result<T, ErrorData> {
    value["resultType"] = json!("complete");
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

fn text_of(request: &CallToolRequestParams) -> String {
    let arguments = request.arguments.clone().unwrap_or_default();
    arguments.get("text").and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_prompts().enable_resources().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("spanwire-rust-peer", "1.0.0"))
            .with_instructions("Shout, measure, refuse.")
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let input = json!({ "type": "object", "properties": { "text": { "type": "string" } }, "required": ["text"] });
        let output =
            json!({ "type": "object", "properties": { "length": { "type": "integer" } }, "required": ["length"] });
        wire(json!({ "tools": [
            { "name": "shout", "title": "Shout", "description": "In capitals", "inputSchema": input,
              "annotations": { "readOnlyHint": true } },
            { "name": "measure", "description": "How long", "inputSchema": input, "outputSchema": output },
            { "name": "refuse", "inputSchema": { "type": "object" } },
        ] }))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let text = text_of(&request);
        let result: CallToolResult = match &*request.name {
            "shout" => wire(json!({ "content": [{ "type": "text", "text": text.to_uppercase() }] }))?,
            "measure" => {
                let length = json!({ "length": text.len() });
                wire(
                    json!({ "content": [{ "type": "text", "text": length.to_string() }], "structuredContent": length }),
                )?
            }
            "refuse" => wire(json!({ "content": [{ "type": "text", "text": "no" }], "isError": true }))?,
            other => return Err(ErrorData::invalid_params(format!("no tool {other}"), None)),
        };
        Ok(CallToolResponse::Complete(result))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        wire(json!({ "prompts": [
            { "name": "haiku", "description": "Three lines", "arguments": [{ "name": "topic", "required": true }] },
        ] }))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let topic = request.arguments.unwrap_or_default().get("topic").cloned().unwrap_or_default();
        let text = format!("A haiku about {}", topic.as_str().unwrap_or_default());
        let result: GetPromptResult = wire(json!({ "description": "Three lines", "messages": [
            { "role": "user", "content": { "type": "text", "text": text } },
        ] }))?;
        Ok(GetPromptResponse::Complete(result))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        wire(json!({ "resources": [{ "uri": "note://one", "name": "one", "mimeType": "text/plain" }] }))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        wire(json!({ "resourceTemplates": [{ "uriTemplate": "note://{number}", "name": "note" }] }))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        if request.uri != "note://one" {
            return Err(ErrorData::resource_not_found(format!("no note {}", request.uri), None));
        }
        let result: ReadResourceResult =
            wire(json!({ "contents": [{ "uri": request.uri, "mimeType": "text/plain", "text": "the first note" }] }))?;
        Ok(ReadResourceResponse::Complete(result))
    }
}
