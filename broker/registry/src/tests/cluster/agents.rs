//! Agents are in the registry for all nodes.

use spanwire_model::{AgentId, AgentQuery, Author, TraceContext};

use super::*;

const ALL: AgentQuery = AgentQuery { id: None, after: None, limit: 100 };

fn agent(id: &str) -> AgentId {
    id.parse().unwrap()
}

fn card(text: &'static str) -> Json {
    Json::from_trusted(text)
}

impl Node {
    fn cards(&self) -> Vec<(String, String)> {
        let agents = self.handle.agents(&ALL).unwrap().agents;
        agents.into_iter().map(|one| (one.id.to_string(), one.known.unwrap().card.as_str().to_owned())).collect()
    }
}

#[tokio::test]
async fn agents_are_kept_for_all_nodes() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a", vec![]).await, cluster.start("b", vec![]).await);
    let ada = agent("ada");
    assert!(!a.handle.add_agent(&ada, card(r#"{"name":"Ada"}"#), false).await.unwrap());
    assert_eq!(b.cards(), [("ada".to_owned(), r#"{"name":"Ada"}"#.to_owned())]);
    let taken = b.handle.add_agent(&ada, card(r#"{"name":"Bob"}"#), false).await.unwrap_err();
    assert_eq!((taken.kind, taken.data.unwrap().as_str()), (ErrorKind::Conflict, r#"{"by":"operator","version":1}"#));
    assert!(b.handle.add_agent(&ada, card(r#"{"name":"Ada L."}"#), true).await.unwrap());
    assert_eq!((a.cards()[0].1.as_str(), a.handle.agent_count().unwrap()), (r#"{"name":"Ada L."}"#, 1));
    assert!(b.handle.remove_agent(&ada).await.unwrap());
    assert!(!b.handle.remove_agent(&ada).await.unwrap());
    assert_eq!((a.cards(), a.handle.agent_count().unwrap()), (vec![], 0));
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn what_is_no_card_does_not_reach_the_log() {
    let cluster = Cluster::new();
    let a = cluster.start("a", vec![]).await;
    let error = a.handle.add_agent(&agent("ada"), card(r#"{"name":"Ada","skills":[{}]}"#), false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParams);
    assert!(error.public.contains("$.skills[0].id is missing"), "{error}");
    a.handle.add_agent(&agent("ada"), card(r#"{"name":"Ada"}"#), false).await.unwrap();
    let first = a.handle.agents(&ALL).unwrap().agents.remove(0).known.unwrap();
    assert_eq!(first.version, 1, "nothing was appended before");
    a.stop().await;
}

#[tokio::test]
async fn a_record_says_on_whose_behalf_it_was_written() {
    let cluster = Cluster::new();
    let a = cluster.start("a", vec![]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let author = Author {
        principal: "ada".into(),
        node: "elsewhere".parse().unwrap(),
        call: Some(uuid::Uuid::from_u128(7)),
        trace: Some(TraceContext::parse(trace, None).unwrap()),
    };
    let behalf = a.handle.on_behalf(author);
    behalf.add_agent(&agent("ada"), card(r#"{"name":"Ada"}"#), false).await.unwrap();
    behalf.add(spec("fs", "x"), None, false).await.unwrap();
    let known = a.handle.agents(&ALL).unwrap().agents.remove(0).known.unwrap();
    assert_eq!((&*known.by, known.node.as_str()), ("ada", "elsewhere"));
    let (_, servers) = a.handle.register().servers().unwrap();
    let written = servers.into_iter().next().unwrap().1.unwrap().written;
    assert_eq!((&*written.principal, written.trace.as_deref()), ("ada", Some(trace)));
    assert_eq!(written.call.as_deref(), Some("00000000-0000-0000-0000-000000000007"));
    a.stop().await;
}

#[tokio::test]
async fn of_two_that_add_one_agent_at_once_one_is_told_that_it_is_taken() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a", vec![]).await, cluster.start("b", vec![]).await);
    for turn in 0..20 {
        let id = agent(&format!("a{turn}"));
        let (left, right) = tokio::join!(
            a.handle.add_agent(&id, card(r#"{"name":"Left"}"#), false),
            b.handle.add_agent(&id, card(r#"{"name":"Right"}"#), false),
        );
        let (winner, refused) = if left.is_ok() { ("Left", right) } else { ("Right", left) };
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Conflict);
        let known = a.handle.agents(&AgentQuery { id: Some(id), ..ALL }).unwrap().agents.remove(0).known.unwrap();
        assert!(known.card.as_str().contains(winner), "{known:?}");
    }
    a.stop().await;
    b.stop().await;
}

#[tokio::test]
async fn without_the_ledger_agents_are_read_and_not_written() {
    let cluster = Cluster::new();
    let a = cluster.start("a", vec![]).await;
    a.handle.add_agent(&agent("ada"), card(r#"{"name":"Ada"}"#), false).await.unwrap();
    a.ledger.connected.store(false, Ordering::SeqCst);
    let refused = a.handle.add_agent(&agent("bob"), card(r#"{"name":"Bob"}"#), true).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    assert_eq!(a.handle.remove_agent(&agent("ada")).await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(a.cards().len(), 1);
    a.stop().await;
}
