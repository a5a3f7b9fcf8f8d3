//! One POST: headers from the body, and the answer as lines.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{HeaderMap, HeaderValue, StatusCode};
use spanwire_mcp::{Json, Limits, Message, Method, Params, Request, RequestId, Response, codes, header, meta};
use spanwire_model::{Error, ErrorKind};
use sse_stream::SseStream;
use tokio_util::sync::CancellationToken;

use super::{
    Bridge,
    resume::{Place, lost},
};

/// Pages of the list of tools that are read for one refused call.
const MAX_PAGES: usize = 100;

impl Bridge {
    /// Sends a request and passes on everything that belongs to it. An error is the host's answer. A request that is no longer
    /// wanted is not asked for again.
    pub(super) async fn ask(&self, request: &Request, body: Bytes, unwanted: &CancellationToken) -> Result<(), Error> {
        if let Some(headers) = modern_headers(request) {
            return self.ask_modern(request, body, headers, unwanted).await;
        }
        if request.method == Method::Initialize {
            let response = self.post(body.clone(), HeaderMap::new()).await?;
            return self.relay(response, request, Some(body), unwanted).await;
        }
        let headers = self.session.headers();
        let mut response = self.post(body.clone(), headers.clone()).await?;
        if response.status() == StatusCode::NOT_FOUND && headers.contains_key(header::SESSION_ID) {
            // A session that the node does not know has executed nothing.
            self.reopen(&headers).await?;
            if unwanted.is_cancelled() {
                return Err(lost());
            }
            response = self.post(body, self.session.headers()).await?;
        }
        self.relay(response, request, None, unwanted).await
    }

    /// A modern request. What a tool wants mirrored is learned when the node says that the headers do not match, for then
    /// nothing was executed (2026-07-28, streamable-http, "Client Behavior").
    async fn ask_modern(
        &self,
        request: &Request,
        body: Bytes,
        headers: HeaderMap,
        unwanted: &CancellationToken,
    ) -> Result<(), Error> {
        let with_arguments = || {
            let mut headers = headers.clone();
            if let (Method::ToolsCall, Some(params)) = (&request.method, &request.params) {
                self.params.mirror(&mut headers, params);
            }
            headers
        };
        let sent = with_arguments();
        let mut response = self.post(body.clone(), sent.clone()).await?;
        if response.status() == StatusCode::BAD_REQUEST && request.method == Method::ToolsCall {
            let mut answer = read_response(response).await?;
            let mismatch = matches!(&answer.outcome, Err(error) if error.code == codes::HEADER_MISMATCH);
            if mismatch {
                self.list_tools(request).await?;
            }
            if !mismatch || with_arguments() == sent {
                answer.id = Some(request.id.clone());
                self.say(&answer.to_bytes()).await;
                return Ok(());
            }
            response = self.post(body, with_arguments()).await?;
        }
        self.relay(response, request, None, unwanted).await
    }

    /// Reads what the tools want mirrored.
    async fn list_tools(&self, call: &Request) -> Result<(), Error> {
        let meta_in = call.params.as_ref().and_then(|params| params.get("_meta")).unwrap_or_else(Json::empty_object);
        let meta_out = meta_in.with(&[], &[meta::PROGRESS_TOKEN]);
        let mut params = Json::empty_object().with(&[("_meta", meta_out.as_bytes())], &[]);
        for _ in 0..MAX_PAGES {
            let id = RequestId::String("tools".into());
            let request = Request { id, method: Method::ToolsList, params: Some(params.clone()) };
            let headers = modern_headers(&request).unwrap_or_default();
            let page = self.result_of(self.post(request.to_bytes(), headers).await?).await?;
            self.params.note(&page);
            let Some(cursor) = page.get("nextCursor") else { break };
            params = params.with(&[("cursor", cursor.as_bytes())], &[]);
        }
        Ok(())
    }

    pub(super) async fn post(&self, body: Bytes, headers: HeaderMap) -> Result<reqwest::Response, Error> {
        let request = self
            .client
            .post(self.endpoint.clone())
            .headers(headers)
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::ACCEPT, "application/json, text/event-stream");
        request.body(body).send().await.map_err(|error| {
            let known = error.is_connect() || error.is_builder();
            let error = error.without_url();
            if known {
                Error::new(ErrorKind::Unavailable, "the node is not reachable").with_private(error)
            } else {
                Error::new(ErrorKind::StreamLost, "the connection to the node broke").with_private(error)
            }
        })
    }

    /// Passes on the answer to `request`. `initialize` is the body when it opens a session.
    async fn relay(
        &self,
        mut response: reqwest::Response,
        request: &Request,
        initialize: Option<Bytes>,
        unwanted: &CancellationToken,
    ) -> Result<(), Error> {
        let session_id = response.headers().get(header::SESSION_ID).cloned();
        let opened = |message: &Response| {
            if let (Some(body), Ok(result)) = (&initialize, &message.outcome) {
                self.session.opened(session_id.clone(), result, body.clone());
            }
        };
        if !is_events(&response) {
            let mut answer = read_response(response).await?;
            // An error about a request that the node could not read has no id; here it is known.
            answer.id = Some(request.id.clone());
            opened(&answer);
            self.say(&answer.to_bytes()).await;
            return Ok(());
        }
        let mut place = Place::default();
        loop {
            if let Some(answer) = self.relay_events(response, &mut place, Some(&request.id)).await {
                opened(&answer);
                self.say(&answer.to_bytes()).await;
                return Ok(());
            }
            if unwanted.is_cancelled() {
                return Err(lost());
            }
            response = self.resume(&mut place).await?;
        }
    }

    /// Passes on the messages of a stream until it ends, or until the response to this request, which is given back.
    pub(super) async fn relay_events(
        &self,
        response: reqwest::Response,
        place: &mut Place,
        id: Option<&RequestId>,
    ) -> Option<Response> {
        let mut events = Box::pin(SseStream::from_bytes_stream(response.bytes_stream()));
        while let Some(Ok(event)) = events.next().await {
            place.note(&event);
            let Some(data) = event.data.filter(|data| !data.trim().is_empty()) else { continue };
            let body = Bytes::from(data);
            match Message::parse_single(&body, &Limits::default()) {
                Ok(Message::Response(answer)) if id.is_some() && answer.id.as_ref() == id => return Some(answer),
                Ok(_) => self.say(&body).await,
                Err(error) => tracing::debug!(%error, "left out an event that is no message"),
            }
        }
        None
    }

    /// The result of a request of the bridge's own.
    pub(super) async fn result_of(&self, response: reqwest::Response) -> Result<Json, Error> {
        if !is_events(&response) {
            return read_response(response).await?.outcome.map_err(Error::from_object);
        }
        let mut events = Box::pin(SseStream::from_bytes_stream(response.bytes_stream()));
        while let Some(Ok(event)) = events.next().await {
            let body = Bytes::from(event.data.unwrap_or_default());
            if let Ok(Message::Response(answer)) = Message::parse_single(&body, &Limits::default()) {
                return answer.outcome.map_err(Error::from_object);
            }
        }
        Err(lost())
    }
}

/// The headers that mirror a modern request (2026-07-28, streamable-http, "Request Metadata"); `None` for any other.
fn modern_headers(request: &Request) -> Option<HeaderMap> {
    let params = Params::read_for(&request.method, request.params.as_ref()).ok()?;
    let version = params.meta.protocol_version.as_deref()?;
    let name = match request.method.name_member() {
        Some("uri") => params.uri.as_deref(),
        Some("taskId") => params.task_id.as_deref(),
        Some(_) => params.name.as_deref(),
        None => None,
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::PROTOCOL_VERSION, HeaderValue::from_str(version).ok()?);
    headers.insert(header::METHOD, HeaderValue::from_str(request.method.as_str()).ok()?);
    if let Some(name) = name {
        headers.insert(header::NAME, HeaderValue::from_str(&header::encode_name(name)).ok()?);
    }
    Some(headers)
}

fn is_events(response: &reqwest::Response) -> bool {
    let value = response.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    response.status().is_success() && value.is_some_and(|value| value.starts_with("text/event-stream"))
}

/// Reads a JSON answer; whatever is none becomes the error that its status means.
async fn read_response(response: reqwest::Response) -> Result<Response, Error> {
    let status = response.status();
    let limits = Limits::default();
    let mut body = BytesMut::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            Error::new(ErrorKind::StreamLost, "the node's answer broke off").with_private(error.without_url())
        })?;
        if body.len() + chunk.len() > limits.max_bytes {
            return Err(Error::new(ErrorKind::BadServer, "the node's answer is above the limit of 16 MiB"));
        }
        body.extend_from_slice(&chunk);
    }
    match Message::parse_single(&body.freeze(), &limits) {
        Ok(Message::Response(answer)) => Ok(answer),
        Ok(Message::Request(_) | Message::Notification(_)) | Err(_) => Err(status_error(status)),
    }
}

fn status_error(status: StatusCode) -> Error {
    let kind = match status {
        StatusCode::UNAUTHORIZED => ErrorKind::Unauthenticated,
        StatusCode::FORBIDDEN => ErrorKind::Denied,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorKind::TooLarge,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::Overloaded,
        status if status.is_server_error() => ErrorKind::Unavailable,
        _ => ErrorKind::BadServer,
    };
    Error::new(kind, format!("the node answered with http {status} and no message"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    #[test]
    fn headers_mirror_a_modern_body() {
        let check = |body: &'static str, expected: &[(&str, &str)]| {
            let Ok(Message::Request(request)) =
                Message::parse_single(&Bytes::from_static(body.as_bytes()), &Limits::default())
            else {
                panic!("{body}")
            };
            let headers = modern_headers(&request).unwrap_or_default();
            let mut found: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            found.sort_unstable();
            assert_eq!(found, expected);
        };
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"grüße","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
            &[
                ("mcp-method", "tools/call"),
                ("mcp-name", "=?base64?Z3LDvMOfZQ==?="),
                ("mcp-protocol-version", "2026-07-28"),
            ],
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"a:b","name":"no","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
            &[("mcp-method", "resources/read"), ("mcp-name", "a:b"), ("mcp-protocol-version", "2026-07-28")],
        );
        check(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#, &[]);
    }
}
