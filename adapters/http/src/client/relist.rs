//! What a tool wants mirrored, asked anew.

use spanwire_era::upstream::WireRequest;
use spanwire_mcp::{Json, Method, Notification, ObjectWriter, meta, string_literal};
use spanwire_model::{Outcome, Result};
use tokio::time::timeout;

use super::{body, wire::Inner};

/// Pages of the list that are read for one refused call.
const MAX_PAGES: usize = 100;
/// The id of these requests: ids of calls are positive.
const RELIST_ID: i64 = -2;

impl Inner {
    /// After a server has refused a call because its headers do not match: reads the tools again, and says whether the
    /// call would carry other headers now (2026-07-28, streamable-http, "Client Behavior").
    pub(super) async fn relist(&self, call: &WireRequest) -> bool {
        if call.method != Method::ToolsCall {
            return false;
        }
        let headers = || {
            let mut headers = http::HeaderMap::new();
            self.params.mirror(&mut headers, &call.params);
            headers
        };
        let before = headers();
        match timeout(self.config.control_timeout, self.read_tools(call)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(server = %self.server, %error, "the tools could not be listed again"),
            Err(_) => tracing::debug!(server = %self.server, "the tools were not listed again in time"),
        }
        let changed = headers() != before;
        if changed {
            // Whoever keeps the list has an old one.
            self.unaddressed(Notification { method: Method::ToolsListChanged, params: None }).await;
        }
        changed
    }

    async fn read_tools(&self, call: &WireRequest) -> Result<()> {
        let meta_in = call.params.get("_meta").unwrap_or_else(Json::empty_object);
        let meta_out = meta_in.with(&[], &[meta::PROGRESS_TOKEN]);
        let mut cursor: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut params = ObjectWriter::with_capacity(meta_out.len() + 64);
            params.member("_meta", meta_out.as_bytes());
            if let Some(cursor) = &cursor {
                params.member("cursor", string_literal(cursor).as_bytes());
            }
            let page = self.read_page(call, params.finish()).await?;
            self.params.note(&page);
            cursor = page.get("nextCursor").and_then(|cursor| cursor.read().ok());
            if cursor.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn read_page(&self, call: &WireRequest, params: Json) -> Outcome {
        let request =
            WireRequest { id: RELIST_ID, revision: call.revision, method: Method::ToolsList, params, trace: None };
        let about = self.about(&request.method);
        let response = self.post(&request).await.map_err(|error| about.not_sent(&error))?;
        if !response.status().is_success() {
            return Err(body::refusal(response, &about).await.0);
        }
        let mut messages = body::messages(response, about.clone());
        self.response_in(&request, &mut messages, &about).await
    }
}
