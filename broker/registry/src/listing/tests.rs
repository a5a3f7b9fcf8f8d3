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

async fn read(script: impl FnMut(Option<String>) -> Option<Outcome> + Send + 'static) -> (Vec<String>, String) {
    let upstream: Arc<dyn Upstream> = Arc::new(Scripted(Mutex::new(Box::new(script))));
    let facts = ServerFacts {
        revision: Revision::CANONICAL,
        info: Json::empty_object(),
        capabilities: Json::from_trusted(r#"{"tools":{}}"#),
        instructions: None,
    };
    let timeout = Duration::from_millis(200);
    let limits = ListLimits { timeout, max_entries: 5, max_entry_bytes: 500, ..ListLimits::default() };
    let list = read_one(&"s".parse().unwrap(), &upstream, &facts, ListKind::Tools, &limits).await;
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
