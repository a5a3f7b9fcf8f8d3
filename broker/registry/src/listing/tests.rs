#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Mutex;

use async_trait::async_trait;
use spanwire_mcp::Revision;
use spanwire_model::{Outcome, Reply};

use super::*;

type Answers = Box<dyn FnMut(Option<String>) -> Option<Outcome> + Send>;

/// A server that answers by a function of the cursor.
struct Scripted(Mutex<Answers>);

#[async_trait]
impl Upstream for Scripted {
    fn call(&self, call: UpstreamCall) -> Reply {
        let cursor = call.params.get("cursor").and_then(|cursor| cursor.read().ok());
        match (self.0.lock().unwrap())(cursor) {
            Some(outcome) => Reply::ready(outcome),
            None => Reply::once(std::future::pending()),
        }
    }
    async fn close(&self) {}
}

async fn read_list(script: impl FnMut(Option<String>) -> Option<Outcome> + Send + 'static) -> ReadList {
    let upstream: Arc<dyn Upstream> = Arc::new(Scripted(Mutex::new(Box::new(script))));
    let facts = ServerFacts {
        revision: Revision::CANONICAL,
        info: Json::empty_object(),
        capabilities: Json::from_trusted(r#"{"tools":{}}"#),
        instructions: None,
    };
    let timeout = Duration::from_millis(200);
    let limits = ListLimits { timeout, max_entries: 5, max_entry_bytes: 500, ..ListLimits::default() };
    read_one(&"s".parse().unwrap(), &upstream, &facts, ListKind::Tools, &limits).await
}

async fn read(script: impl FnMut(Option<String>) -> Option<Outcome> + Send + 'static) -> (Vec<String>, String) {
    let list = read_list(script).await;
    let names = list.entries.iter().map(|entry| entry.name.to_string()).collect();
    (names, list.complaints.text().unwrap_or_default().to_string())
}

fn tool(name: &str) -> String {
    format!(r#"{{"name":"{name}","inputSchema":{{"type":"object"}}}}"#)
}

fn page(tools: &[String], next: Option<&str>) -> Option<Outcome> {
    let next = next.map(|next| format!(r#","nextCursor":"{next}""#)).unwrap_or_default();
    Some(Ok(Json::from_trusted(format!(r#"{{"tools":[{}]{next}}}"#, tools.join(",")))))
}

#[tokio::test]
async fn pages_are_read_to_the_end() {
    let (names, complaints) = read(|cursor| match cursor.as_deref() {
        None => page(&[tool("a")], Some("2")),
        Some("2") => page(&[tool("b"), tool("c")], None),
        Some(other) => panic!("{other}"),
    })
    .await;
    assert_eq!((names.join(" "), &*complaints), ("a b c".to_owned(), ""));
}

#[tokio::test]
async fn a_hanging_list_ends_in_time() {
    let (names, complaints) = read(|cursor| if cursor.is_none() { page(&[tool("a")], Some("2")) } else { None }).await;
    assert_eq!(names, ["a"]);
    assert!(complaints.contains("did not answer within 200 ms"), "{complaints}");
}

#[tokio::test]
async fn an_endless_cursor_is_cut() {
    let (names, complaints) = read(|_| page(&[], Some("again"))).await;
    assert!(names.is_empty() && complaints.contains("same cursor twice"), "{complaints}");
    let mut count = 0;
    let (_, complaints) = read(move |_| {
        count += 1;
        page(&[], Some(&count.to_string()))
    })
    .await;
    assert!(complaints.contains("more than 100 pages"), "{complaints}");
    let mut count = 0;
    let (names, complaints) = read(move |_| {
        count += 1;
        page(&[tool(&format!("t{count}"))], Some(&count.to_string()))
    })
    .await;
    assert!(names.len() == 5 && complaints.contains("the rest is dropped"), "{complaints}");
}

#[tokio::test]
async fn bad_entries_cost_only_themselves() {
    for (bad, complaint) in [
        (tool("good"), "listed twice"),
        (tool("with space"), "invalid name"),
        (tool(""), "invalid name"),
        (tool(&"x".repeat(129)), "invalid name"),
        (r#"{"inputSchema":{"type":"object"}}"#.into(), "has no \"name\""),
        (r#"{"name":"n"}"#.into(), "schema"),
        (r#"{"name":"n","inputSchema":{"type":"array"}}"#.into(), "schema"),
        (r#"{"name":"n","description":5,"inputSchema":{"type":"object"}}"#.into(), "schema"),
        (r#"{"name":"n","icons":{},"inputSchema":{"type":"object"}}"#.into(), "schema"),
        (r#"{"name":"n","execution":1,"inputSchema":{"type":"object"}}"#.into(), "schema"),
        (
            format!(r#"{{"name":"n","description":"{}","inputSchema":{{"type":"object"}}}}"#, "d".repeat(600)),
            "bytes, the limit",
        ),
        ("7".into(), "has no \"name\""),
    ] {
        let shown = bad.clone();
        let (names, complaints) = read(move |_| page(&[tool("good"), bad.clone(), tool("last")], None)).await;
        assert_eq!(names, ["good", "last"], "{shown}");
        assert!(complaints.contains(complaint), "{shown}: {complaints}");
    }
}

#[tokio::test]
async fn a_result_without_the_array_is_a_complaint() {
    let (names, complaints) = read(|_| Some(Ok(Json::from_trusted(r#"{"tools":{}}"#)))).await;
    assert!(names.is_empty() && complaints.contains("no array"), "{complaints}");
}

/// A schema of any dialect with references to anywhere passes as it is: nothing here follows them (2026-07-28, basic/index,
/// "$ref Resolution").
#[tokio::test]
async fn schemas_pass_untouched() {
    let tool = r##"{"name":"n", "inputSchema":{"$schema":"http://json-schema.org/draft-07/schema#","type":"object","properties":{"a":{"$ref":"#/$defs/x"},"b":{"$ref":"http://169.254.169.254/x"}},"$defs":{"x":{"$anchor":"x"}}},"outputSchema":{"type":"array"},"icons":[],"execution":{}}"##;
    let list = read_list(move |_| page(&[tool.to_owned()], None)).await;
    assert_eq!(list.entries[0].json.as_str(), tool);
    assert_eq!(list.complaints.text(), None);
}

#[tokio::test]
async fn the_smallest_hint_counts() {
    let check = |pages: [&'static str; 2], expected: (u64, bool)| async move {
        let list = read_list(move |cursor| {
            let (hints, next) = if cursor.is_none() { (pages[0], r#","nextCursor":"2""#) } else { (pages[1], "") };
            Some(Ok(Json::from_trusted(format!(r#"{{"tools":[]{hints}{next}}}"#))))
        })
        .await;
        assert_eq!((list.ttl_ms, list.private), expected, "{pages:?}");
    };
    let public = r#","ttlMs":5000,"cacheScope":"public""#;
    check([public, r#","ttlMs":70,"cacheScope":"public""#], (70, false)).await;
    check([public, r#","ttlMs":5000,"cacheScope":"private""#], (5000, true)).await;
    check([r#","ttlMs":5000"#, public], (5000, true)).await;
    check([r#","ttlMs":-1,"cacheScope":"public""#, public], (0, false)).await;
    check([r#","cacheScope":"public""#, public], (0, false)).await;
}
