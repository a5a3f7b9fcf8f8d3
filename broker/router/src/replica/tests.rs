#![allow(clippy::unwrap_used)]

use super::*;

const WELL: Standing = Standing::Well { is_trial: false };

fn candidates(list: &[(&str, Standing, u32)]) -> Vec<Candidate> {
    let candidate = |(node, standing, load): &(&str, Standing, u32)| Candidate {
        node: node.parse().unwrap(),
        standing: *standing,
        load: *load,
    };
    list.iter().map(candidate).collect()
}

/// How often each is chosen, of a thousand.
fn chosen(list: &[(&str, Standing, u32)]) -> Vec<u32> {
    let mut counts = vec![0; list.len()];
    for roll in 0..1000 {
        let winner = pick(candidates(list), mixed(roll)).unwrap();
        counts[list.iter().position(|(node, ..)| *node == winner.node.as_str()).unwrap()] += 1;
    }
    counts
}

#[test]
fn of_two_the_less_busy_one() {
    assert_eq!(pick(Vec::new(), 7), None);
    assert_eq!(chosen(&[("a", WELL, 9)]), [1000]);
    assert_eq!(chosen(&[("a", WELL, 9), ("b", WELL, 8)]), [0, 1000]);
    assert_eq!(chosen(&[("a", WELL, 1), ("b", WELL, 8)]), [1000, 0]);
    // Equals share; of three the busiest never wins, the idle one loses only when it is not drawn.
    let equal = chosen(&[("a", WELL, 3), ("b", WELL, 3), ("c", WELL, 3)]);
    assert!(equal.iter().all(|count| (250..420).contains(count)), "{equal:?}");
    let three = chosen(&[("a", WELL, 0), ("b", WELL, 5), ("c", WELL, 9)]);
    assert!((600..740).contains(&three[0]) && three[2] == 0, "{three:?}");
}

#[test]
fn the_better_ones_first_however_busy() {
    let all = [("a", Standing::Suspect, 0), ("b", Standing::Sick, 0), ("c", Standing::Draining, 0), ("d", WELL, 99)];
    assert_eq!(chosen(&all), [0, 0, 0, 1000]);
    assert_eq!(chosen(&all[..3]), [0, 0, 1000]);
    assert_eq!(chosen(&all[..2]), [0, 1000]);
    assert_eq!(chosen(&all[..1]), [1000], "better than nobody");
    let trial = Standing::Well { is_trial: true };
    assert_eq!(chosen(&[("a", trial, 0), ("b", WELL, 1)]), [1000, 0], "a trial is a call like any other");
}

#[test]
fn the_node_and_its_calls_make_the_standing() {
    for (state, trust, expected) in [
        (NodeState::Alive, Trust::Well, WELL),
        (NodeState::Alive, Trust::Trial, Standing::Well { is_trial: true }),
        (NodeState::Alive, Trust::Sick, Standing::Sick),
        (NodeState::Draining, Trust::Sick, Standing::Draining),
        (NodeState::Suspect, Trust::Well, Standing::Suspect),
    ] {
        assert_eq!(standing(state, trust), expected, "{state:?} {trust:?}");
    }
}

#[test]
fn what_an_outcome_says_of_the_replica() {
    use spanwire_mcp::{ErrorObject, Json};
    use spanwire_model::{Error, ErrorKind as Kind};
    let failed = |kind| Err(Error::new(kind, "x"));
    let told = Error::new(Kind::Unavailable, "HTTP status 503").with_data(Json::empty_object());
    for (outcome, heard, expected) in [
        (Ok(Json::empty_object()), false, Verdict::Well),
        (Err(Error::from_server(ErrorObject::new(-1, "own"))), false, Verdict::Well),
        (failed(Kind::Unavailable), false, Verdict::Sick),
        (Err(told), false, Verdict::Unknown),
        (failed(Kind::StreamLost), true, Verdict::Sick),
        (failed(Kind::DeadlineExceeded), false, Verdict::Sick),
        (failed(Kind::DeadlineExceeded), true, Verdict::Unknown),
        (failed(Kind::Overloaded), false, Verdict::Unknown),
        (failed(Kind::Denied), false, Verdict::Well),
    ] {
        assert_eq!(verdict(&outcome, heard), expected, "{outcome:?} {heard}");
    }
}

#[test]
fn a_replica_that_is_nowhere_is_remembered_only_while_it_has_calls() {
    let (replicas, nowhere) = (Replicas::new(), Inventory::default());
    let key: (ServerId, NodeId) = ("fs".parse().unwrap(), "nowhere".parse().unwrap());
    let end = || replicas.end(&key, true, false, Verdict::Sick, &nowhere);
    replicas.begin(&key, true);
    replicas.begin(&key, true);
    replicas.keep_only(&nowhere);
    end();
    assert_eq!(replicas.known().get(&key).map(|known| known.outstanding), Some(1));
    end();
    assert!(replicas.known().is_empty(), "{:?}", replicas.known());
    // One that is there is, and what it did counts.
    let entry = ServerEntry {
        id: key.0.clone(),
        node: key.1.clone(),
        local: false,
        transport: "stdio".into(),
        facts: None,
        listing: Arc::default(),
        health: spanwire_model::Health { state: spanwire_model::ServerState::Ready, detail: None, restarts: 0 },
        call_timeout: None,
        source: spanwire_model::Source::Config,
        placed: None,
        load: 0,
    };
    let there = Inventory { servers: vec![Arc::new(entry)], ..Inventory::default() };
    let is_found_sick = || {
        let is_trial = replicas.begin(&key, true);
        replicas.end(&key, true, is_trial, Verdict::Sick, &there)
    };
    assert_eq!([is_found_sick(), is_found_sick(), is_found_sick()], [false, false, true]);
    replicas.keep_only(&there);
    assert_eq!(replicas.known().len(), 1);
}
