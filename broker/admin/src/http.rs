//! Pages for probes and scrapers.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use crate::{Control, readiness};

/// OpenMetrics 1.0, the one text format with exemplars.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

const INDEX: &str = "\
Spanwire, a message broker for AI agents and their tools.

  /mcp           the federated MCP endpoint
  /mcp/{view}    the MCP endpoint of one view or server
  /healthz       200 while the process is alive
  /readyz        200 when the node can be sent traffic, 503 and what is missing before
  /metrics       OpenMetrics
";

/// The routes `/`, `/healthz`, `/readyz` and `/metrics`. They need no token and tell no secret.
pub fn http(control: Arc<dyn Control>) -> Router {
    Router::new()
        .route("/", get(async || page(StatusCode::OK, TEXT, INDEX)))
        .route("/healthz", get(async || page(StatusCode::OK, TEXT, "ok\n")))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(control)
}

async fn ready(State(control): State<Arc<dyn Control>>) -> Response {
    let missing = readiness::missing(&control.status(), &control.inventory());
    let code = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    page(code, JSON, json!({"ready": missing.is_empty(), "missing": missing}).to_string())
}

async fn metrics(State(control): State<Arc<dyn Control>>) -> Response {
    page(StatusCode::OK, OPEN_METRICS, control.metrics())
}

fn page(code: StatusCode, content_type: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (code, headers, body).into_response()
}
