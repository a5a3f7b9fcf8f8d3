//! What a legacy server asks of its client, and who answers.

use async_trait::async_trait;
use spanwire_mcp::{ErrorObject, Json, Method, Request, codes};

/// Answers requests of legacy servers: the seam for sampling, elicitation and roots.
///
/// Laws: an answer comes within a bounded time; at most [`MAX_REQUESTS`] are asked for at once per connection.
#[async_trait]
pub trait ServerRequests: Send + Sync + 'static {
    /// The capabilities to declare in `initialize`: an object.
    fn capabilities(&self) -> Json;

    /// Answers one request.
    async fn answer(&self, request: Request) -> Result<Json, ErrorObject>;
}

/// Requests of one server that may wait for their answer at once; further ones are refused.
pub(super) const MAX_REQUESTS: usize = 32;

/// Declares nothing and answers nothing but `ping`.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefuseAll;

#[async_trait]
impl ServerRequests for RefuseAll {
    fn capabilities(&self) -> Json {
        Json::empty_object()
    }

    async fn answer(&self, request: Request) -> Result<Json, ErrorObject> {
        if request.method == Method::Ping {
            return Ok(Json::empty_object());
        }
        Err(ErrorObject::new(codes::METHOD_NOT_FOUND, format!("{} is not offered here", request.method)))
    }
}
