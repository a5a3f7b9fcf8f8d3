use super::*;

#[test]
fn what_the_table_does_not_show_is_noted() {
    let check = |wanted: WantedServer, has_row: bool, expected: &[&str]| {
        assert_eq!(notes(&wanted, has_row), expected);
    };
    let any = WantedServer {
        id: "fs".into(),
        placement: Placement::Any.into(),
        replicas: 2,
        running: 2,
        ..WantedServer::default()
    };
    check(any.clone(), true, &[]);
    check(WantedServer { running: 1, ..any.clone() }, true, &["fs: 1 of 2 replicas"]);
    let shadowed = vec!["a".to_owned(), "b".to_owned()];
    let note = "fs: the configuration of a, b goes before the registry there";
    check(WantedServer { shadowed_on: shadowed.clone(), ..any.clone() }, true, &[note]);
    // A record whose id is a part of the broker by now: the row is that part's.
    let taken = WantedServer { running: 0, problem: "is not run".into(), shadowed_on: shadowed, ..any };
    check(taken.clone(), true, &["fs: is not run"]);
    // Without a row of another one it has its own, which says why.
    check(WantedServer { shadowed_on: Vec::new(), ..taken }, false, &["fs: 0 of 2 replicas"]);
}
