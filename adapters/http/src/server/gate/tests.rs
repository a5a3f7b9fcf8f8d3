#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

#[test]
fn origins() {
    let allowed =
        Config { allowed_origins: vec!["https://a.example".into(), "http://localhost:*".into()], ..<_>::default() };
    for (origin, expected) in [
        ("https://a.example", true),
        ("HTTPS://A.example", true),
        ("https://a.example:8443", false),
        ("http://a.example", false),
        ("http://localhost", true),
        ("http://localhost:5173", true),
        ("http://localhost.evil.example", false),
        ("http://localhost:evil", false),
        ("null", false),
        ("", false),
    ] {
        assert_eq!(origin_allowed(&allowed.allowed_origins, origin), expected, "{origin}");
    }
}

#[test]
fn hosts() {
    let config = Config::default();
    let check = |host: Option<&str>, expected: bool| {
        let mut request = http::Request::builder().uri("/mcp");
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        assert_eq!(super::host(&config, &parts).is_ok(), expected, "{host:?}");
    };
    check(Some("localhost"), true);
    check(Some("LOCALHOST:7400"), true);
    check(Some("127.0.0.1:7400"), true);
    check(Some("[::1]:7400"), true);
    check(Some("localhost.evil.example"), false);
    check(Some("evil.example:7400"), false);
    check(Some("127.0.0.1:"), false);
    check(None, false);
}

#[test]
fn media_types() {
    let check = |value: Option<&str>, expected: bool| {
        let mut headers = HeaderMap::new();
        if let Some(value) = value {
            headers.insert(header::ACCEPT, value.parse().unwrap());
        }
        assert_eq!(accept(&headers, &[JSON, SSE]).is_ok(), expected, "{value:?}");
    };
    check(None, true);
    check(Some("*/*"), true);
    check(Some("application/json, text/event-stream"), true);
    check(Some("Application/JSON;q=0.9,text/*"), true);
    check(Some("application/json"), false);
    check(Some("text/event-stream"), false);
    check(Some("text/html"), false);
    check(Some(""), false);
}
