//! Canonical results and notifications as older revisions have them.

use bytes::{BufMut, BytesMut};
use spanwire_mcp::{Json, Method, Notification, codes, meta};
use spanwire_model::{Error, ErrorKind};

/// How most results of a modern server begin.
const COMPLETE: &[u8] = br#"{"resultType":"complete","#;

/// Members that only 2026-07-28 has.
const MODERN_MEMBERS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

/// A canonical result as a legacy client reads it. Nothing else in it changes.
pub fn result(method: &Method, result: Json) -> Result<Json, Error> {
    if let Some(rest) = result.as_bytes().strip_prefix(COMPLETE) {
        if !is_cacheable(method) {
            let mut out = BytesMut::with_capacity(rest.len() + 1);
            out.put_u8(b'{');
            out.put_slice(rest);
            return Ok(Json::from_trusted(out.freeze()));
        }
    } else if result.get("resultType").is_some_and(|kind| kind.as_str() == "\"input_required\"") {
        return bridge_input_required(method, &result);
    }
    Ok(result.with(&[], &MODERN_MEMBERS))
}

/// The seam for the elicitation bridge: here a result that asks the client something becomes requests to the client on
/// the session's stream, and a retry. Until then the call fails and says why.
fn bridge_input_required(method: &Method, _result: &Json) -> Result<Json, Error> {
    let text = format!("{method} needs input from the user, which cannot reach a client of this revision yet");
    let mut error = Error::new(ErrorKind::MissingCapability, text);
    error.code = Some(codes::INTERNAL_ERROR);
    Err(error)
}

/// True for the methods whose results may carry `ttlMs` and `cacheScope`; a large result of any other is not searched
/// for them.
fn is_cacheable(method: &Method) -> bool {
    !matches!(method, Method::ToolsCall | Method::PromptsGet | Method::Complete)
}

/// A canonical notification as a legacy client reads it; `None` for what only a listen stream has.
pub fn notification(mut notification: Notification) -> Option<Notification> {
    if notification.method == Method::SubscriptionAcknowledged {
        return None;
    }
    let meta = notification.params.as_ref().and_then(|params| params.get("_meta"));
    if let (Some(params), Some(meta)) = (&notification.params, meta)
        && meta.get(meta::SUBSCRIPTION_ID).is_some()
    {
        let meta = meta.with(&[], &[meta::SUBSCRIPTION_ID]);
        notification.params = Some(if meta.entries().next().is_none() {
            params.with(&[], &["_meta"])
        } else {
            params.with(&[("_meta", meta.as_bytes())], &[])
        });
    }
    Some(notification)
}
