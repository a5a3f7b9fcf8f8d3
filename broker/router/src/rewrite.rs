//! The caller's names in params become the server's own.

use spanwire_mcp::{Json, string_literal};

/// Params with a string member replaced; the same bytes when nothing changes.
pub(crate) fn string_member(params: &Json, key: &str, exposed: &str, own: &str) -> Json {
    if exposed == own { params.clone() } else { params.with(&[(key, string_literal(own).as_bytes())], &[]) }
}

/// Params of `completion/complete` with a member of `ref` replaced.
pub(crate) fn reference(params: &Json, key: &str, exposed: &str, own: &str) -> Json {
    match params.get("ref") {
        Some(reference) if exposed != own => {
            let reference = string_member(&reference, key, exposed, own);
            params.with(&[("ref", reference.as_bytes())], &[])
        }
        Some(_) | None => params.clone(),
    }
}
