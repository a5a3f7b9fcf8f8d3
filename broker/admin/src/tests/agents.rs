use spanwire_rpc::{CALL_ID_METADATA, ERROR_DATA_METADATA, v1};
use tonic::{Code, Request};

use super::*;

const CARD: &str = r#"{ "name":"Ada","x":12345678901234567890,"y":1.0 }"#;
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn add(id: &str, card: &str, replace: bool) -> v1::AddAgentRequest {
    v1::AddAgentRequest { id: id.into(), card_json: card.to_owned().into(), replace }
}

fn list(id: &str, after: &str, limit: u32) -> v1::ListAgentsRequest {
    v1::ListAgentsRequest { id: id.into(), after: after.into(), limit }
}

#[tokio::test]
async fn agents_come_and_go() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    assert!(!client.add_agent(add("ada", CARD, false)).await.unwrap().into_inner().replaced);
    let taken = client.add_agent(add("ada", CARD, false)).await.unwrap_err();
    assert_eq!((taken.code(), kind(&taken)), (Code::FailedPrecondition, "conflict"));
    assert_eq!(taken.metadata().get(ERROR_DATA_METADATA).unwrap(), r#"{"by":"ada"}"#);
    assert!(client.add_agent(add("ada", CARD, true)).await.unwrap().into_inner().replaced);

    let listed = client.list_agents(list("", "", 0)).await.unwrap().into_inner();
    let expected = v1::AgentInfo {
        id: "ada".into(),
        card_json: CARD.into(),
        by: "operator".into(),
        node: "here".into(),
        registered_unix_ms: 5,
        version: 7,
        problem: String::new(),
    };
    assert_eq!((listed.agents, &*listed.next, listed.total), (vec![expected], "", 1));

    let remove = |id: &str| v1::RemoveAgentRequest { id: id.into() };
    assert!(client.remove_agent(remove("ada")).await.unwrap().into_inner().removed);
    assert!(!client.remove_agent(remove("ada")).await.unwrap().into_inner().removed);
    assert_eq!(client.remove_agent(remove("Bad Name")).await.unwrap_err().code(), Code::InvalidArgument);
    node.stop().await;
}

#[tokio::test]
async fn what_is_no_agent_is_refused_with_a_reason() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    for (id, card, part) in [
        ("Bad Name", CARD, "invalid agent id \"Bad Name\": use 1 to 64"),
        ("", CARD, "invalid agent id"),
        ("ada", "", "agent \"ada\" has no card"),
        ("ada", "{", "the card of agent \"ada\" is not JSON: EOF while parsing"),
        ("ada", "{} {}", "is not JSON"),
    ] {
        let error = client.add_agent(add(id, card, false)).await.unwrap_err();
        assert_eq!((error.code(), kind(&error)), (Code::InvalidArgument, "invalid_params"), "{id} {card}");
        assert!(error.message().contains(part), "{error}");
    }
    assert!(node.control.authors.lock().unwrap().is_empty());
    for bad in [list("A", "", 0), list("", "A", 0)] {
        assert_eq!(client.list_agents(bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
    node.stop().await;
}

#[tokio::test]
async fn agents_are_listed_page_by_page() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    for number in 0..120 {
        client.add_agent(add(&format!("a{number:03}"), CARD, false)).await.unwrap();
    }
    let mut check = async |request: v1::ListAgentsRequest, first: &str, count: usize, next: &str| {
        let page = client.list_agents(request.clone()).await.unwrap().into_inner();
        let found = (page.agents.first().map_or("", |agent| &*agent.id), page.agents.len(), &*page.next, page.total);
        assert_eq!(found, (first, count, next, 120), "{request:?}");
    };
    check(list("", "", 0), "a000", 100, "a099").await;
    check(list("", "a099", 0), "a100", 20, "").await;
    check(list("", "a110", 2), "a111", 2, "a112").await;
    check(list("", "", u32::MAX), "a000", 120, "").await;
    check(list("a007", "", 0), "a007", 1, "").await;
    check(list("nobody", "", 0), "", 0, "").await;
    let unreadable = Agent { id: "a007".parse().unwrap(), known: None };
    node.control.agents.lock().unwrap().insert(unreadable.id.clone(), unreadable);
    let page = client.list_agents(list("a007", "", 0)).await.unwrap().into_inner();
    assert!(page.agents[0].card_json.is_empty() && page.agents[0].problem.contains("this version cannot read"));
    node.stop().await;
}

#[tokio::test]
async fn what_is_written_says_in_which_call_and_trace() {
    let node = Node::start(None).await;
    let mut client = node.client().await;
    fn traced<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01").parse().unwrap());
        request
    }
    let answer = client.add_agent(traced(add("ada", CARD, false))).await.unwrap();
    let call = answer.metadata().get(CALL_ID_METADATA).unwrap().to_str().unwrap().to_owned();
    client.remove_agent(traced(v1::RemoveAgentRequest { id: "ada".into() })).await.unwrap();
    client.remove_server(traced(v1::RemoveServerRequest { id: "git".into() })).await.unwrap();
    let authors = node.control.authors.lock().unwrap().clone();
    assert_eq!(authors.len(), 3);
    assert_eq!(authors[0].call.unwrap().to_string(), call);
    for author in authors {
        assert_eq!((&*author.principal, author.node.as_str()), ("operator", "here"));
        let trace = author.trace.unwrap().traceparent();
        assert!(trace.starts_with(&format!("00-{TRACE}-")) && author.call.is_some(), "{trace}");
    }
    node.stop().await;
}
