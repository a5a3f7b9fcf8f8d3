#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use spanwire_mcp::Json;
use spanwire_model::{EraChoice, StdioTarget};

use super::*;
use crate::machine::Written;

fn spec(command: &str, placement: Placement, replicas: u16) -> ServerSpec {
    ServerSpec {
        id: "fs".parse().unwrap(),
        target: Target::Stdio(StdioTarget { command: command.into(), ..StdioTarget::default() }),
        era: EraChoice::Auto,
        max_in_flight: None,
        call_timeout_ms: None,
        placement,
        replicas,
    }
}

fn record(spec: &ServerSpec, home: Option<&str>, sequence: u64) -> ServerRecord {
    ServerRecord {
        spec: Json::from_serialize(spec).unwrap(),
        home: home.map(|home| home.parse().unwrap()),
        written: Written {
            principal: "ada".into(),
            node: "z".parse().unwrap(),
            call: None,
            trace: None,
            sequence,
            time_ms: 0,
        },
    }
}

fn desired(configured: Option<&ServerSpec>, record: Option<ServerRecord>, kept: Option<&ServerSpec>) -> Desired {
    let list = |spec: Option<&ServerSpec>| spec.cloned().into_iter().collect();
    let mut desired = Desired::new(&Config::new("a".parse().unwrap()), list(configured), list(kept));
    desired.set_records(record.map(|record| ("fs".parse().unwrap(), Some(record))).into_iter().collect());
    desired
}

#[test]
fn who_says_what_runs_here() {
    let [file, log, store] = ["file", "log", "store"].map(|command| spec(command, Placement::Here, 1));
    let any = spec("any", Placement::Any, 2);
    let check = |desired: Desired, expected: Option<(&str, Source, Option<u64>)>| {
        let wants = desired.wants();
        let want = wants.values().next().map(|want| {
            let Target::Stdio(target) = &want.spec.target else { panic!() };
            (target.command.as_str(), want.source, want.version)
        });
        assert_eq!(want, expected);
    };
    check(desired(None, None, None), None);
    let here = || Some(record(&log, Some("a"), 5));
    check(desired(Some(&file), here(), Some(&store)), Some(("file", Source::Config, None)));
    check(desired(None, here(), Some(&store)), Some(("log", Source::Registry, Some(5))));
    check(desired(None, Some(record(&any, None, 6)), None), Some(("any", Source::Registry, Some(6))));
    check(desired(Some(&file), Some(record(&any, None, 6)), None), Some(("file", Source::Config, None)));
    // Placed on another node: not ours, and what was kept goes on.
    check(desired(None, Some(record(&log, Some("b"), 5)), None), None);
    check(desired(None, Some(record(&log, Some("b"), 5)), Some(&store)), Some(("store", Source::Registry, None)));
    let builtin = ServerSpec { target: Target::Builtin("x".into()), ..file.clone() };
    assert_eq!(desired(Some(&builtin), None, None).wants().values().next().unwrap().source, Source::Builtin);
}

#[test]
fn what_is_wanted_shows_where_it_is_shadowed_and_unreadable() {
    let any = spec("any", Placement::Any, 2);
    let both = desired(Some(&spec("file", Placement::Any, 3)), Some(record(&any, None, 6)), None);
    let seen: Vec<_> = both.wanted(|_| None).into_iter().map(|w| (w.source, w.replicas, w.version)).collect();
    assert_eq!(seen, [(Source::Config, 3, 0), (Source::Registry, 2, 6)]);
    let mut later = record(&any, None, 7);
    later.spec = Json::from_trusted(r#"{"id":"fs","target":{"carrier_pigeon":{}},"placement":"any","replicas":4}"#);
    let later = desired(None, Some(later), None);
    assert!(later.wants().is_empty());
    let wanted = later.wanted(|_| None);
    assert_eq!((wanted[0].placement, wanted[0].replicas, &*wanted[0].by), (Placement::Any, 4, "ada"));
    assert!(wanted[0].problem.as_ref().unwrap().contains("this version cannot read"));
    assert!(later.knows(&"fs".parse().unwrap()));
}

#[test]
fn what_need_not_be_started_again() {
    let want = |command: &str, source, version| Want { spec: spec(command, Placement::Here, 1), source, version };
    let check = |a: Want, b: Want, same: bool| assert_eq!((a.is_same(&b), b.is_same(&a)), (same, same), "{a:?} {b:?}");
    let log = || want("x", Source::Registry, Some(4));
    check(log(), log(), true);
    check(log(), want("x", Source::Registry, Some(5)), false);
    check(log(), want("x", Source::Registry, None), true);
    check(log(), want("y", Source::Registry, None), false);
    check(log(), want("x", Source::Config, None), false);
}

#[test]
fn where_no_other_node_has_the_registry_every_home_is_this_node() {
    let home = |owns_all: bool| {
        let record = record(&spec("x", Placement::Here, 1), Some("as-it-was-called"), 5);
        let mut desired = Desired::new(&Config { owns_all, ..Config::new("a".parse().unwrap()) }, vec![], vec![]);
        desired.set_records(vec![("fs".parse().unwrap(), Some(record))]);
        (desired.wants().len(), desired.wanted(|_| None)[0].home.as_ref().unwrap().to_string())
    };
    assert_eq!(home(true), (1, "a".into()));
    assert_eq!(home(false), (0, "as-it-was-called".into()));
}
