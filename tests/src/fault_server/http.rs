//! One POST a message; a closed connection ends what it asked for.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use spanwire_mcp::{codes, header as mcp_header};
use tokio::net::TcpListener;

use super::FaultServer;

/// Serves until the future is dropped. Fails only when the listener does.
pub async fn serve_http(server: Arc<FaultServer>, listener: TcpListener) -> std::io::Result<()> {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        while connections.try_join_next().is_some() {}
        let server = server.clone();
        connections.spawn(async move {
            let service = service_fn(|request| {
                let server = server.clone();
                async move { Ok::<_, Infallible>(answer(&server, request).await) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(server: &FaultServer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::POST {
        return response(StatusCode::METHOD_NOT_ALLOWED, Bytes::new());
    }
    let legacy = server.options.legacy;
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let Ok(message) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return response(StatusCode::BAD_REQUEST, Bytes::new());
    };
    if legacy && message["method"] == "server/discover" {
        return response(StatusCode::BAD_REQUEST, Bytes::new());
    }
    let Some(answer) = server.take(&message, None).await else {
        return response(StatusCode::ACCEPTED, Bytes::new());
    };
    let unknown = answer["error"]["code"] == codes::METHOD_NOT_FOUND && !legacy;
    let status = if unknown { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let mut response = response(status, answer.to_string().into());
    if legacy && message["method"] == "initialize" {
        response.headers_mut().insert(mcp_header::SESSION_ID, header::HeaderValue::from_static("the-only-one"));
    }
    response
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
