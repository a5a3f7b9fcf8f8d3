//! The tasks extension (`io.modelcontextprotocol/tasks`, ext-tasks, "Capability Negotiation"): who has declared it.

use crate::{Json, meta};

/// The extension's identifier.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// In `_meta` inside the broker only: what a client of 2025-11-25 asked of the task that it wants, an object that may hold `ttl` in
/// milliseconds. No server sees it.
pub const WISH: &str = "io.spanwire/task";
/// `data` of the error for a client that has not declared the extension, as JSON text.
pub const MISSING_DATA: &str = r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#;

/// True when capabilities, a client's or a server's, declare the extension.
pub fn is_declared(capabilities: &Json) -> bool {
    let settings = capabilities.get("extensions").and_then(|extensions| extensions.get(EXTENSION));
    settings.is_some_and(|settings| settings.is_object())
}

/// True when the client that sent these params declares the extension in them.
pub fn is_declared_by(params: &Json) -> bool {
    let capabilities = params.get("_meta").and_then(|meta_in| meta_in.get(meta::CLIENT_CAPABILITIES));
    capabilities.is_some_and(|capabilities| is_declared(&capabilities))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_declares_the_extension() {
        let check = |text: &'static str, expected: bool| {
            assert_eq!(is_declared(&Json::from_trusted(text)), expected, "{text}");
            let params = format!(r#"{{"_meta":{{"io.modelcontextprotocol/clientCapabilities":{text}}}}}"#);
            assert_eq!(is_declared_by(&Json::from_trusted(params)), expected, "{text}");
        };
        check(r#"{"extensions":{"io.modelcontextprotocol/tasks":{}}}"#, true);
        check(r#"{"extensions":{"io.modelcontextprotocol/tasks":null}}"#, false);
        check(r#"{"extensions":{"io.modelcontextprotocol/ui":{}}}"#, false);
        check(r#"{"tasks":{}}"#, false);
        assert!(!is_declared_by(&Json::empty_object()));
    }
}
