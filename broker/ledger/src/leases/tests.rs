#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn names_and_times_are_checked() {
    for (name, seconds, good) in [
        ("duty", 3, true),
        ("place.fs.0", 15, true),
        ("a_b-C.9", 3, true),
        ("", 3, false),
        ("a..b", 3, false),
        ("a.*", 3, false),
        ("a.>", 3, false),
        ("a b", 3, false),
        ("duty", 2, false),
    ] {
        assert_eq!(check(name, Duration::from_secs(seconds)).is_ok(), good, "{name} {seconds}");
    }
    let long = "x".repeat(MAX_LEASE_NAME + 1);
    let error = check(&long, MIN_LEASE_TTL).unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidParams);
    assert!(error.public.len() < 2 * MAX_LEASE_NAME, "{error}");
}
