//! Canonical results and notifications as older revisions have them.

use bytes::{BufMut, BytesMut};
use spanwire_mcp::{
    Json, Method, Notification, ObjectWriter, Revision, codes,
    input::{INPUT_REQUIRED, has_result_type},
    meta,
};
use spanwire_model::{Error, ErrorKind};

use crate::tasks::to_legacy;

/// How most results of a modern server begin.
const COMPLETE: &[u8] = br#"{"resultType":"complete","#;

/// Members that only 2026-07-28 has.
const MODERN_MEMBERS: [&str; 3] = ["resultType", "ttlMs", "cacheScope"];

/// A canonical result as a legacy client reads it. Nothing else in it changes. The error is a result that asks for input, as it came.
pub(super) fn result(method: &Method, result: Json) -> Result<Json, Json> {
    if let Some(rest) = result.as_bytes().strip_prefix(COMPLETE) {
        if !is_cacheable(method) {
            let mut out = BytesMut::with_capacity(rest.len() + 1);
            out.put_u8(b'{');
            out.put_slice(rest);
            return Ok(Json::from_trusted(out.freeze()));
        }
    } else if has_result_type(&result, INPUT_REQUIRED) {
        return Err(result);
    }
    Ok(result.with(&[], &MODERN_MEMBERS))
}

/// An error as a legacy client reads it: the codes that 2026-07-28 changed are those of before.
pub(super) fn error(method: &Method, params: Option<&Json>, mut error: Error) -> Error {
    if error.json_rpc_code() == codes::MISSING_CLIENT_CAPABILITY {
        error.code = Some(codes::INTERNAL_ERROR);
    }
    if *method != Method::ResourcesRead || error.json_rpc_code() != codes::INVALID_PARAMS {
        return error;
    }
    let uri = params.and_then(|params| params.get("uri")).filter(|uri| uri.as_str().starts_with('"'));
    let named = error.data.as_ref().is_some_and(|data| data.get("uri").is_some());
    // A server says which resource is missing; the broker itself refuses a readable URI only when it is unknown.
    match uri {
        Some(_) if named => error.code = Some(codes::LEGACY_RESOURCE_NOT_FOUND),
        Some(uri) if error.kind == ErrorKind::InvalidParams && error.data.is_none() => {
            let mut data = ObjectWriter::with_capacity(uri.len() + 16);
            data.member("uri", uri.as_bytes());
            error.data = Some(data.finish());
            error.code = Some(codes::LEGACY_RESOURCE_NOT_FOUND);
        }
        Some(_) | None => {}
    }
    error
}

/// True for the methods whose results may carry `ttlMs` and `cacheScope`; a large result of any other is not searched
/// for them.
fn is_cacheable(method: &Method) -> bool {
    !matches!(method, Method::ToolsCall | Method::PromptsGet | Method::Complete)
}

/// A canonical notification as a client of this revision reads it; `None` for what only a listen stream has, and for what the
/// revision does not know.
pub fn notification(revision: Revision, mut notification: Notification) -> Option<Notification> {
    match notification.method {
        Method::SubscriptionAcknowledged => return None,
        Method::ElicitationComplete | Method::TaskStatus if revision < Revision::V2025_11_25 => return None,
        _ => {}
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
    if notification.method == Method::TaskStatus {
        return to_legacy::notification(&notification);
    }
    Some(notification)
}
