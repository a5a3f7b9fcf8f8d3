//! Resources of the builtin server, and what is told of them.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use serde_json::{Value, json};
use spanwire_mcp::Method;
use spanwire_model::{ErrorKind, Event, Notice, Reply};

use super::{
    key,
    ledger::MemoryLedger,
    now, options, put,
    server::Client,
    service::{ann, contexts, contexts_with},
    space,
};
use crate::{AllowList, Config, Contexts, Rule, Transaction, Verb, connect};

#[tokio::test]
async fn resources_are_read() {
    let (contexts, _, _) = contexts();
    let client = Client::of(&contexts);
    ann(&contexts).write(&space("s"), Transaction::one(put("ä b", "[1]")), options()).await.unwrap();
    let read = client.result(Method::ResourcesRead, json!({ "uri": "ctx://s/%C3%A4%20b" })).await;
    let content = &read["contents"][0];
    assert_eq!((&content["mimeType"], &content["text"]), (&"application/json".into(), &"[1]".into()));
    assert_eq!(
        (&content["_meta"]["spanwire/version"], &content["_meta"]["spanwire/writer"]["principal"]),
        (&1.into(), &"ann".into())
    );
    let read = client.result(Method::ResourcesRead, json!({ "uri": "ctx://s" })).await;
    let list: Value = serde_json::from_str(read["contents"][0]["text"].as_str().unwrap()).unwrap();
    assert_eq!((&list["keys"][0]["key"], &list["keys"][0]["version"]), (&"ä b".into(), &1.into()));
    // It would be of no use in a federated view, where it has another one.
    assert_eq!(list["keys"][0].get("uri"), None);
    for uri in ["ctx://s/none", "ctx://none", "ctx://", "file:///x"] {
        let error = client.ask("ann", Method::ResourcesRead, &json!({ "uri": uri })).outcome().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidParams, "{uri}");
        // Whoever reads through a federated view knows it under another URI.
        assert!(
            error.public.starts_with("unknown resource: ") && !error.public.contains("ctx://s"),
            "{}",
            error.public
        );
    }
}

fn listen(client: &Client, principal: &str, uris: &[&str]) -> Reply {
    client.ask(principal, Method::Listen, &json!({ "notifications": { "resourceSubscriptions": uris } }))
}

async fn next(reply: &mut Reply) -> (Method, Value) {
    let event = tokio::time::timeout(Duration::from_secs(30), reply.next()).await.expect("an event in time");
    match event.expect("an event") {
        Event::Notification(notification) => (notification.method, notification.params.unwrap().to_value()),
        other => panic!("{other:?}"),
    }
}

async fn write(contexts: &Contexts, name: &str) {
    ann(contexts).write(&space("s"), Transaction::one(put(name, "1")), options()).await.unwrap();
}

fn watchers(ledger: &MemoryLedger) -> usize {
    ledger.watchers(Contexts::shard_of(&space("s")))
}

#[tokio::test]
async fn changes_are_told() {
    let (contexts, ledger, _) = contexts();
    let client = Client::of(&contexts);
    let mut one = listen(&client, "ann", &["ctx://s/a"]);
    let mut both = listen(&client, "ann", &["ctx://s", "nonsense"]);
    assert_eq!(next(&mut one).await.0, Method::SubscriptionAcknowledged);
    let (method, params) = next(&mut both).await;
    assert_eq!(method, Method::SubscriptionAcknowledged);
    assert_eq!(params["notifications"]["resourceSubscriptions"], json!(["ctx://s"]));
    for name in ["ab", "a", "b"] {
        write(&contexts, name).await;
    }
    assert_eq!(next(&mut one).await, (Method::ResourceUpdated, json!({ "uri": "ctx://s/a" })));
    for _ in 0..3 {
        assert_eq!(next(&mut both).await, (Method::ResourceUpdated, json!({ "uri": "ctx://s" })));
    }
    write(&contexts, "a").await;
    assert_eq!(next(&mut one).await.1["uri"], "ctx://s/a");
    // Dropping the reply leaves nothing behind.
    assert_eq!(watchers(&ledger), 2);
    drop(one);
    assert_eq!(watchers(&ledger), 1);
    client.0.close().await;
    let mut rest = both.collect::<Vec<_>>().await;
    assert!(matches!(rest.pop(), Some(Event::Done(Err(error))) if error.kind == ErrorKind::StreamLost));
    assert_eq!(watchers(&ledger), 0);
}

#[tokio::test]
async fn a_closed_server_answers_nobody() {
    let (contexts, _, _) = contexts();
    let mut connected = connect(&contexts);
    let client = Client(connected.upstream);
    let waiting = json!({ "name": "get", "arguments": { "space": "s", "key": "a", "at_least": 9 } });
    let mut pending = client.ask("ann", Method::ToolsCall, &waiting);
    assert!(futures::poll!(pending.next()).is_pending());
    client.0.close().await;
    assert!(matches!(pending.next().await, Some(Event::Done(Err(error))) if error.kind == ErrorKind::StreamLost));
    let error = client.ask("ann", Method::ToolsList, &json!({})).outcome().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(matches!(connected.notices.recv().await, Some(Notice::Closed(_))));
    assert_eq!(connected.notices.recv().await, None);
}

#[tokio::test]
async fn what_may_not_be_read_is_not_there_for_tools_and_resources() {
    let rule = |principal: &str, key: &str| Rule {
        principal: principal.into(),
        space: "s".into(),
        key: key.into(),
        verbs: vec![Verb::Read, Verb::Write],
    };
    let access = Arc::new(AllowList::new(vec![rule("ann", "*"), rule("bob", "open/*")]));
    let (contexts, _, _) = contexts_with(|config| Config { access, ..config });
    let client = Client::of(&contexts);
    let mut told = listen(&client, "bob", &["ctx://s", "ctx://s/shut"]);
    next(&mut told).await;
    write(&contexts, "shut").await;
    write(&contexts, "open/a").await;
    assert_eq!(next(&mut told).await.1["uri"], "ctx://s");
    let (_, got) = client.tool_by("bob", "get", json!({ "space": "s", "key": "shut" })).await;
    assert_eq!(got["found"], false);
    let (is_done, refused) = client.tool_by("bob", "put", json!({ "space": "s", "key": "shut", "value": 1 })).await;
    assert_eq!((is_done, &refused["kind"]), (false, &"denied".into()));
    let read = client.ask("bob", Method::ResourcesRead, &json!({ "uri": "ctx://s/shut" })).outcome().await;
    let none = client.ask("bob", Method::ResourcesRead, &json!({ "uri": "ctx://s/none" })).outcome().await;
    assert_eq!(read.unwrap_err().kind, none.unwrap_err().kind);
    let eve = client.ask("eve", Method::ResourcesRead, &json!({ "uri": "ctx://s" })).outcome().await;
    assert_eq!(eve.unwrap_err().kind, ErrorKind::InvalidParams);
    assert!(ann(&contexts).get(&space("s"), &key("shut"), now()).await.unwrap().value.is_some());
}
