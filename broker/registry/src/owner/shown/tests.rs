#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use spanwire_mcp::{Json, Revision};
use spanwire_model::{Listing, Placed, ServerFacts, Source};

use super::*;

fn entry(node: &str, placed: Option<(u16, u64)>) -> Arc<ServerEntry> {
    Arc::new(ServerEntry {
        id: "fs".parse().unwrap(),
        node: node.parse().unwrap(),
        local: node == "a",
        transport: "stdio".into(),
        facts: Some(Arc::new(ServerFacts {
            revision: Revision::CANONICAL,
            info: Json::empty_object(),
            capabilities: Json::empty_object(),
            instructions: None,
        })),
        listing: Arc::new(Listing::default()),
        health: Health { state: ServerState::Ready, detail: None, restarts: 2 },
        call_timeout: None,
        source: Source::Registry,
        placed: placed.map(|(replica, token)| Placed { replica, token }),
        load: 4,
    })
}

fn wanted() -> Vec<Wanted> {
    vec![Wanted {
        id: "fs".parse().unwrap(),
        source: Source::Registry,
        placement: Placement::Any,
        replicas: 2,
        home: None,
        by: "ada".into(),
        version: 1,
        problem: None,
    }]
}

#[test]
fn of_two_that_claim_one_replica_the_later_one_has_it() {
    let check = |servers: &[(&str, Option<(u16, u64)>)], expected: &[&str]| {
        let servers = servers.iter().map(|(node, placed)| entry(node, *placed)).collect();
        let seen = LastPlaced::default().shown(servers, &wanted(), Instant::now());
        let nodes: Vec<&str> = seen.iter().map(|entry| entry.node.as_str()).collect();
        assert_eq!(nodes, expected);
    };
    check(&[("b", Some((0, 7))), ("a", Some((0, 9)))], &["a"]);
    check(&[("a", Some((0, 7))), ("b", Some((0, 9)))], &["b"]);
    check(&[("b", Some((1, 7))), ("a", Some((0, 9)))], &["a", "b"]);
    check(&[("b", None), ("a", Some((0, 9)))], &["a", "b"]);
}

#[test]
fn a_server_between_two_nodes_is_down_and_keeps_its_listing() {
    let (mut last, now) = (LastPlaced::default(), Instant::now());
    last.shown(vec![entry("a", Some((0, 7)))], &wanted(), now);
    let seen = last.shown(Vec::new(), &wanted(), now);
    let [entry_between] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((entry_between.health.state, entry_between.local, entry_between.load), (ServerState::Down, false, 0));
    assert!(entry_between.facts.is_some() && entry_between.placed.is_some());
    assert!(entry_between.health.detail.as_ref().unwrap().contains("the last one was \"a\""));
    // Somebody starts it, and does not know yet what it lists.
    let starting = ServerEntry {
        facts: None,
        health: Health { state: ServerState::Starting, detail: None, restarts: 0 },
        ..ServerEntry::clone(&entry("b", Some((0, 8))))
    };
    let seen = last.shown(vec![Arc::new(starting)], &wanted(), now);
    let [entry_starting] = seen.as_slice() else { panic!("{seen:?}") };
    assert_eq!((entry_starting.node.as_str(), entry_starting.health.state), ("b", ServerState::Starting));
    assert!(entry_starting.facts.is_some());
    // It is not wanted any more.
    assert!(last.shown(Vec::new(), &[], now).is_empty());
    assert!(last.shown(Vec::new(), &wanted(), now).is_empty());
}

#[test]
fn a_server_that_another_nodes_file_places_is_shown_for_a_while_after_its_node() {
    let theirs = |source| vec![Arc::new(ServerEntry { source, ..ServerEntry::clone(&entry("b", Some((0, 7)))) })];
    let (mut last, now) = (LastPlaced::default(), Instant::now());
    last.shown(theirs(Source::Config), &[], now);
    assert_eq!(last.next_end(&[]), None);
    let end = now + BETWEEN_NODES;
    let seen = last.shown(Vec::new(), &[], now);
    assert_eq!((seen.len(), seen[0].health.state, last.next_end(&[])), (1, ServerState::Down, Some(end)));
    // Whatever else changes meanwhile, the time goes on.
    assert_eq!(last.shown(Vec::new(), &[], end - Duration::from_millis(1)).len(), 1);
    assert_eq!(last.next_end(&[]), Some(end));
    // Somebody runs it again, and its time begins anew.
    assert_eq!(last.shown(theirs(Source::Config), &[], end).len(), 1);
    assert_eq!((last.shown(Vec::new(), &[], end).len(), last.next_end(&[])), (1, Some(end + BETWEEN_NODES)));
    assert_eq!(last.shown(Vec::new(), &[], end + BETWEEN_NODES).len(), 0, "nobody took it");
    assert_eq!(last.next_end(&[]), None);
    // Of one in the registry this node knows that it was removed.
    last.shown(theirs(Source::Registry), &[], now);
    assert_eq!(last.shown(Vec::new(), &[], now).len(), 0);
    // And of one that is wanted here, that it is.
    last.shown(theirs(Source::Config), &wanted(), now);
    assert_eq!(last.shown(Vec::new(), &wanted(), end + BETWEEN_NODES).len(), 1);
    assert_eq!(last.next_end(&wanted()), None);
}
