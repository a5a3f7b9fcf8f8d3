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
fn servers_spread_over_all_nodes() {
    let nodes = nodes(3);
    let mut first = BTreeMap::<&NodeId, usize>::new();
    for number in 0..300 {
        let order = rank::order(&server(number), &nodes, None);
        assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), nodes.iter().collect());
        *first.entry(order[0]).or_default() += 1;
    }
    assert!(first.len() == 3 && first.values().all(|count| *count > 50), "{first:?}");
}

#[test]
fn only_the_servers_of_a_node_that_goes_move() {
    let (all, gone) = (nodes(4), "n2".parse::<NodeId>().unwrap());
    let left: BTreeSet<NodeId> = all.iter().filter(|node| **node != gone).cloned().collect();
    for number in 0..100 {
        let [before, after] = [&all, &left].map(|nodes| rank::order(&server(number), nodes, None)[0].clone());
        assert!(before == gone || before == after);
    }
}

/// What the nodes do that are alive, one after the other: each takes what it may take at once.
fn place(servers: usize, alive: &BTreeSet<NodeId>, holdings: &mut Holdings) {
    let inventory = |own: &NodeId| {
        let info = |id: &NodeId| NodeInfo {
            id: id.clone(),
            state: NodeState::Alive,
            version: "1".into(),
            silent: Duration::ZERO,
        };
        let nodes = alive.iter().filter(|node| *node != own).map(info).collect();
        Inventory { nodes, ..Inventory::default() }
    };
    let wishes: Wishes = (0..servers).map(|number| (server(number), EVERYWHERE)).collect();
    let seen = holdings.clone();
    for own in alive {
        let mut placement = placement_of(own, inventory(own), wishes.clone(), seen.clone());
        for id in wishes.keys().filter(|id| seen.get(lease_name(id, 0).as_str()).is_some_and(|one| one.node == *own)) {
            placement.seats.insert(id.clone(), Seat::Busy);
        }
        let runs: BTreeSet<ServerId> = placement.seats.keys().cloned().collect();
        placement.plan(Instant::now());
        for (id, _) in placement.seats.iter().filter(|(id, seat)| matches!(seat, Seat::Busy) && !runs.contains(id)) {
            let other = holdings.insert(lease_name(id, 0).into(), Holding { node: own.clone(), token: 1 });
            assert!(other.is_none(), "{id} is taken twice at once");
        }
    }
    assert_eq!(holdings.len(), servers, "nobody takes some of them at once");
}

#[tokio::test]
async fn after_a_rolling_restart_no_node_has_more_than_its_part_of_what_was_placed_anew() {
    let (all, mut holdings) = (nodes(3), Holdings::new());
    // The first node that starts takes them all.
    place(12, &all.iter().take(1).cloned().collect(), &mut holdings);
    let mut seen = Vec::new();
    for restarted in &all {
        let left: BTreeSet<NodeId> = all.iter().filter(|node| *node != restarted).cloned().collect();
        holdings.retain(|_, holding| holding.node != *restarted);
        place(12, &left, &mut holdings);
        let counts = rank::counts(&holdings);
        seen.push(all.iter().map(|node| counts.get(node).copied().unwrap_or(0)).collect::<Vec<_>>());
    }
    assert_eq!(seen, [[0, 6, 6], [6, 0, 6], [6, 6, 0]]);
    // The last one has its part again as soon as anything is to be placed.
    holdings.retain(|_, holding| holding.node != all.iter().next().unwrap().clone());
    let left: BTreeSet<NodeId> = all.iter().skip(1).cloned().collect();
    place(12, &left, &mut holdings);
    assert!(rank::counts(&holdings).values().all(|count| *count == 6), "{:?}", rank::counts(&holdings));
}

#[test]
fn which_replica_a_node_takes_and_how_late() {
    let held = |replicas: &[u16]| -> Holdings {
        let holding = || Holding { node: "x".parse().unwrap(), token: 1 };
        replicas.iter().map(|replica| (Arc::from(lease_name(&server(1), *replica)), holding())).collect()
    };
    let check = |replicas: u16, taken: &[u16], expected: &[u16]| {
        let free = free_replicas(&server(1), replicas, &held(taken), &|_| true);
        assert_eq!(free, expected, "{replicas} {taken:?}");
    };
    check(1, &[], &[0]);
    check(2, &[], &[0, 1]);
    check(2, &[1], &[0]);
    check(3, &[0], &[1, 2]);
    check(2, &[0, 1], &[]);
    // Whoever has one does not try for another.
    let (nodes, own) = (nodes(3), "n0".parse().unwrap());
    let holding = Holding { node: "n1".parse().unwrap(), token: 1 };
    let held = Holdings::from([(Arc::from(lease_name(&server(1), 1)), holding)]);
    let names = |replicas| {
        rivals(&server(1), replicas, &nodes, &held, &own).into_iter().map(NodeId::as_str).collect::<Vec<_>>()
    };
    assert_eq!((names(2), names(1)), (vec!["n0", "n2"], vec!["n0", "n1", "n2"]));
    assert_eq!(delay(0, 1), Duration::ZERO);
    assert_eq!(delay(1, 2), Duration::ZERO);
    assert_eq!((delay(1, 1), delay(3, 2)), (STEP, STEP * 2));
    assert_eq!(delay(1000, 1), MAX_DELAY);
}

const EVERYWHERE: Wish = Wish { replicas: 1, is_everywhere: true, version: Some(7) };

/// The placement of the node `n0` in a cluster of that many, which wishes one replica of one server.
fn placement(count: usize, id: &ServerId, holdings: Holdings) -> Placement {
    let info = |id| NodeInfo { id, state: NodeState::Alive, version: "1".into(), silent: Duration::ZERO };
    let inventory = Inventory { nodes: nodes(count).into_iter().map(info).collect(), ..Inventory::default() };
    let wishes = Wishes::from([(id.clone(), Wish { is_everywhere: false, ..EVERYWHERE })]);
    placement_of(&"n0".parse().unwrap(), inventory, wishes, holdings)
}

fn placement_of(own: &NodeId, inventory: Inventory, wishes: Wishes, holdings: Holdings) -> Placement {
    let inventory = watch::channel(Arc::new(inventory)).1;
    let register = Register::new(own.clone(), false, Log::new().node());
    let resolve: crate::Resolve = Arc::new(|spec| Ok(spec.clone()));
    Placement {
        handle: Handle::new(mpsc::channel(1).0, inventory.clone(), register, BTreeSet::new(), resolve, false),
        config: Arc::new(Config::new(own.clone())),
        leases: Bucket::new().node(own),
        wishes: watch::channel(Arc::new(wishes)).1,
        holdings: watch::channel(Arc::new(holdings)).1,
        inventory,
        heard: watch::channel(true).1,
        seats: BTreeMap::new(),
        unfit: BTreeMap::new(),
        taking: FuturesUnordered::new(),
        taken: FuturesUnordered::new(),
    }
}

/// A server for which the node `n0` is of this rank among so many.
fn ranked(rank: usize, count: usize) -> ServerId {
    let nodes = nodes(count);
    let is_it = |id: &ServerId| rank::order(id, &nodes, None)[rank].as_str() == "n0";
    (0..1000).map(server).find(is_it).unwrap()
}

#[tokio::test]
async fn a_node_that_is_not_the_first_tries_again_when_its_rest_is_over() {
    let id = ranked(1, 2);
    let mut placement = placement(2, &id, Holdings::new());
    let now = Instant::now();
    placement.unfit.insert(id.clone(), Some(7));
    placement.seats.insert(id.clone(), Seat::Resting(now + STEP));
    assert_eq!(placement.plan(now), Some(now + STEP), "it rests");
    let over = now + STEP * 2;
    assert_eq!(placement.plan(over), Some(over + MAX_DELAY), "the others first");
    assert_eq!(placement.plan(over + STEP), Some(over + MAX_DELAY), "looking does not put it off");
    assert_eq!(placement.plan(over + MAX_DELAY), None);
    assert!(matches!(placement.seats[&id], Seat::Busy) && placement.taking.len() == 1);
}

#[tokio::test]
async fn a_node_on_which_a_server_does_not_start_is_the_last_to_try_it_again() {
    // It would be the first: it runs nothing, and the server likes it best.
    let id = ranked(0, 3);
    let plan = |set: &dyn Fn(&mut Placement)| {
        let mut placement = placement(3, &id, Holdings::new());
        placement.given_back(id.clone(), GivenBack::Unfit);
        assert!(matches!(placement.seats[&id], Seat::Resting(_)));
        set(&mut placement);
        let now = Instant::now() + REST;
        let next = placement.plan(now).map(|at| at - now);
        (next, placement.taking.len())
    };
    assert_eq!(plan(&|_| {}), (Some(MAX_DELAY), 0));
    assert_eq!(plan(&|placement| placement.given_back(id.clone(), GivenBack::Ended)), (Some(MAX_DELAY), 0));
    assert_eq!(plan(&|placement| placement.given_back(id.clone(), GivenBack::Ran)), (None, 1), "it started here");
    let replaced = Wishes::from([(id.clone(), Wish { version: Some(8), is_everywhere: false, ..EVERYWHERE })]);
    let replace = |placement: &mut Placement| placement.wishes = watch::channel(Arc::new(replaced.clone())).1;
    assert_eq!(plan(&replace), (None, 1), "it is another server now");
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
    assert_eq!(free_replicas(&id, 2, &held_by("n7"), &|_| false), [1]);
}

/// Leases whose taking is answered when the test says so.
struct Slow {
    bucket: Arc<Bucket>,
    asked: CancellationToken,
    may_answer: CancellationToken,
}

#[async_trait::async_trait]
impl Leases for Slow {
    async fn acquire(&self, name: &str, ttl: Duration) -> Result<Option<Lease>> {
        self.asked.cancel();
        self.may_answer.cancelled().await;
        self.bucket.node(&"n0".parse().unwrap()).acquire(name, ttl).await
    }

    fn watch(&self) -> watch::Receiver<Arc<Holdings>> {
        self.bucket.watch()
    }
}

#[tokio::test]
async fn a_lease_that_comes_when_the_node_leaves_is_given_back() {
    let (bucket, leaving) = (Bucket::new(), CancellationToken::new());
    let (asked, may_answer) = (CancellationToken::new(), CancellationToken::new());
    let leases = Slow { bucket: bucket.clone(), asked: asked.clone(), may_answer: may_answer.clone() };
    let placement = Placement { leases: Arc::new(leases), ..placement(1, &server(1), Holdings::new()) };
    let mut holdings = bucket.watch();
    let running = tokio::spawn(placement.run(leaving.clone()));
    asked.cancelled().await;
    leaving.cancel();
    tokio::task::yield_now().await;
    may_answer.cancel();
    running.await.unwrap();
    assert!(holdings.has_changed().unwrap(), "it was had");
    assert!(holdings.borrow_and_update().is_empty(), "and given back");
}
