#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use spanwire_mcp::{Json, Method, Revision};
use spanwire_model::{ClientFacts, EdgeTransport, Place};
use tokio::time::Instant;

use super::*;

fn policy() -> Policy {
    Policy::new(&[PrincipalConfig {
        name: "ci".into(),
        tokens: vec![TokenDigest::of("s3cret")],
        tools: vec!["fs__read_*".into(), "git__log".into()],
        views: vec!["mcp".into()],
        ..PrincipalConfig::default()
    }])
}

fn call(principal: &str) -> Call {
    Call {
        id: Default::default(),
        principal: Principal::new(principal),
        view: None,
        method: Method::ToolsCall,
        params: Json::empty_object(),
        deadline: Instant::now(),
        parent: None,
        client: ClientFacts::of(EdgeTransport::Http, Revision::CANONICAL),
    }
}

fn route(kind: ListKind, canonical: &str) -> Route {
    let object = Object::Entry { kind, own_name: Arc::from("x"), canonical: canonical.into() };
    Route { server: "fs".parse().unwrap(), object, place: Place::Local, call_timeout: None }
}

#[test]
fn tokens_become_principals() {
    let policy = policy();
    assert_eq!(&*policy.authenticate(Some("Bearer s3cret")).unwrap().name, "ci");
    assert_eq!(&*policy.authenticate(Some("bearer  s3cret ")).unwrap().name, "ci");
    for bad in [None, Some("s3cret"), Some("Basic s3cret"), Some("Bearer s3creT"), Some("Bearer "), Some("")] {
        let error = policy.authenticate(bad).unwrap_err();
        assert_eq!((error.kind, &*error.public), (ErrorKind::Unauthenticated, "a valid bearer token is required"));
    }
    assert_eq!(&*Policy::open().authenticate(None).unwrap().name, "anonymous");
}

#[test]
fn lists_and_calls_follow_the_same_rule() {
    let policy = policy();
    let ci = Principal::new("ci");
    for (kind, name, allowed) in [
        (ListKind::Tools, "fs__read_file", true),
        (ListKind::Tools, "fs__write_file", false),
        (ListKind::Tools, "git__log", true),
        (ListKind::Tools, "git__log2", false),
        (ListKind::Prompts, "fs__read_file", false),
        (ListKind::Resources, "fs+file:///a", false),
    ] {
        assert_eq!(policy.allows(&ci, kind, name), allowed, "{name}");
        assert_eq!(policy.authorize(call("ci"), route(kind, name)).is_ok(), allowed, "{name}");
        assert!(policy.authorize(call("nobody"), route(kind, name)).is_err());
        assert!(policy.authorize(call("anonymous"), route(kind, name)).is_err());
        assert!(policy.authorize(call("operator"), route(kind, name)).is_ok());
    }
    assert!(policy.allows_view(&ci, None));
    assert!(!policy.allows_view(&ci, Some("fs")));
}

#[test]
fn a_resource_pattern_is_no_way_up() {
    let docs = PrincipalConfig {
        name: "ci".into(),
        resources: vec!["fs+file:///docs/*".into()],
        ..PrincipalConfig::default()
    };
    let (policy, ci) = (Policy::new(&[docs]), Principal::new("ci"));
    for (uri, allowed) in [
        ("fs+file:///docs/a", true),
        ("fs+file:///docs/x/../a", true),
        ("fs+file:///docs/../secret", false),
        ("fs+file:///docs/%2e%2e/secret", false),
    ] {
        assert_eq!(policy.allows(&ci, ListKind::Resources, uri), allowed, "{uri}");
    }
}

#[test]
fn unknown_methods_need_everything() {
    let server = || Route { object: Object::Server, ..route(ListKind::Tools, "x") };
    assert!(policy().authorize(call("ci"), server()).is_err());
    assert!(Policy::open().authorize(call("anonymous"), server()).is_ok());
}

#[test]
fn digests_are_read_and_never_shown() {
    let digest = TokenDigest::of("abc");
    let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(hex.parse::<TokenDigest>(), Ok(digest.clone()));
    assert!("xyz".parse::<TokenDigest>().is_err());
    assert!(!format!("{digest:?}").contains("ba78"));
}
