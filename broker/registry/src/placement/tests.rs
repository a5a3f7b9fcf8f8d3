#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use spanwire_model::NodeInfo;
use tokio::sync::mpsc;

use super::*;
use crate::{
    register::Register,
    tests::doubles::{Bucket, Log},
};

fn nodes(count: usize) -> BTreeSet<NodeId> {
    (0..count).map(|number| format!("n{number}").parse().unwrap()).collect()
}

fn server(number: usize) -> ServerId {
    format!("s{number}").parse().unwrap()
}

#[test]
fn every_node_has_a_rank_of_its_own_and_servers_spread() {
    let nodes = nodes(3);
    let mut first = BTreeMap::<&NodeId, usize>::new();
    for number in 0..300 {
        let mut ranks: Vec<usize> = nodes.iter().map(|node| rank::rank(&server(number), node, &nodes)).collect();
        let node = nodes.iter().nth(ranks.iter().position(|rank| *rank == 0).unwrap()).unwrap();
        *first.entry(node).or_default() += 1;
        ranks.sort_unstable();
        assert_eq!(ranks, [0, 1, 2]);
    }
    assert!(first.len() == 3 && first.values().all(|count| *count > 50), "{first:?}");
}

#[test]
fn only_the_servers_of_a_node_that_goes_move() {
    let (all, gone) = (nodes(4), "n2".parse::<NodeId>().unwrap());
    let left: BTreeSet<NodeId> = all.iter().filter(|node| **node != gone).cloned().collect();
    let first = |server: &ServerId, nodes: &BTreeSet<NodeId>| {
        nodes.iter().find(|node| rank::rank(server, node, nodes) == 0).unwrap().clone()
    };
    for number in 0..100 {
        let (before, after) = (first(&server(number), &all), first(&server(number), &left));
        assert!(before == gone || before == after);
    }
}

#[test]
fn which_replica_a_node_takes_and_how_late() {
    let held = |replicas: &[u16]| -> Holdings {
        let holding = || Holding { node: "x".parse().unwrap(), token: 1 };
        replicas.iter().map(|replica| (Arc::from(lease_name(&server(1), *replica)), holding())).collect()
    };
    let check = |rank: usize, replicas: u16, taken: &[u16], expected: Option<u16>| {
        let free = free_replica(&server(1), replicas, rank, &held(taken), &|_| true);
        assert_eq!(free, expected, "{rank} {replicas} {taken:?}");
    };
    check(0, 1, &[], Some(0));
    check(1, 1, &[], Some(0));
    check(1, 2, &[], Some(1));
    check(1, 2, &[1], Some(0));
    check(5, 3, &[0], Some(1));
    check(0, 2, &[0, 1], None);
    assert_eq!(delay(0, 1), Duration::ZERO);
    assert_eq!(delay(1, 2), Duration::ZERO);
    assert_eq!((delay(1, 1), delay(3, 2)), (STEP, STEP * 2));
    assert_eq!(delay(1000, 1), MAX_DELAY);
}

/// The placement of the node `n0` in a cluster of that many, which wishes one replica of one server; and who hears what it is told.
fn placement(count: usize, id: &ServerId, holdings: Holdings) -> Placement {
    let own: NodeId = "n0".parse().unwrap();
    let info = |id| NodeInfo { id, state: NodeState::Alive, version: "1".into(), silent: Duration::ZERO };
    let inventory = Inventory { nodes: nodes(count).into_iter().map(info).collect(), ..Inventory::default() };
    let inventory = watch::channel(Arc::new(inventory)).1;
    let register = Register::new(own.clone(), false, Log::new().node());
    let resolve: crate::Resolve = Arc::new(|spec| Ok(spec.clone()));
    Placement {
        handle: Handle::new(mpsc::channel(1).0, inventory.clone(), register, BTreeSet::new(), resolve),
        config: Arc::new(Config::new(own.clone())),
        leases: Bucket::new().node(&own),
        wishes: watch::channel(Arc::new(Wishes::from([(id.clone(), 1)]))).1,
        holdings: watch::channel(Arc::new(holdings)).1,
        inventory,
        seats: BTreeMap::new(),
        taking: FuturesUnordered::new(),
        taken: FuturesUnordered::new(),
    }
}

/// A server for which the node `n0` is of this rank among so many.
fn ranked(rank: usize, count: usize) -> ServerId {
    let is_it = |id: &ServerId| rank::rank(id, &"n0".parse().unwrap(), &nodes(count)) == rank;
    (0..1000).map(server).find(is_it).unwrap()
}

#[tokio::test]
async fn a_node_that_is_not_the_first_tries_again_when_its_rest_is_over() {
    let id = ranked(1, 2);
    let mut placement = placement(2, &id, Holdings::new());
    let now = Instant::now();
    placement.seats.insert(id.clone(), Seat::Resting(now + STEP));
    assert_eq!(placement.plan(now), Some(now + STEP), "it rests");
    let over = now + STEP * 2;
    assert_eq!(placement.plan(over), Some(over + STEP), "the others first");
    assert_eq!(placement.plan(over + STEP / 2), Some(over + STEP), "looking does not put it off");
    assert_eq!(placement.plan(over + STEP), None);
    assert!(matches!(placement.seats[&id], Seat::Busy) && placement.taking.len() == 1);
}

#[tokio::test]
async fn a_lease_whose_holder_is_not_there_is_tried_for() {
    let id = ranked(0, 2);
    let held_by = |node: &str| {
        let holding = Holding { node: node.parse().unwrap(), token: 1 };
        Holdings::from([(Arc::from(lease_name(&id, 0)), holding)])
    };
    for (node, is_tried) in [("n0", true), ("n1", false), ("n7", true)] {
        let mut placement = placement(2, &id, held_by(node));
        let now = Instant::now();
        assert_eq!(placement.plan(now), None);
        assert_eq!(placement.taking.len(), usize::from(is_tried), "{node}");
        placement.seats.insert(id.clone(), Seat::Busy);
        placement.plan(now);
        assert_eq!(placement.taking.len(), usize::from(is_tried), "{node}: it runs here, or is tried for");
    }
    // What is free goes first.
    assert_eq!(free_replica(&id, 2, 0, &held_by("n7"), &|_| false), Some(1));
}
