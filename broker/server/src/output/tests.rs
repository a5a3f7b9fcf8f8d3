#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn a_server_cannot_write_to_the_terminal_itself() {
    assert_eq!(clean("a\u{1b}[31mb\u{7}\r\n\u{9b}c\u{2063}"), "a[31mb\nc");
    assert_eq!(first_line("  one\ttwo \nthree", 80), "one two ");
    assert_eq!(first_line("abcdef", 4), "abc…");
}

#[test]
fn colours_do_not_disturb_the_layout() {
    let rows = vec![
        vec![Cell::from("a"), Cell::toned("ready", Tone::Good), Cell::from("x")],
        vec![Cell::from("b"), Cell::toned("down for good", Tone::Bad), Cell::from("y")],
    ];
    let lines = layout(&["id", "state", "z"], rows, 60);
    let plain: Vec<String> = lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
    let at = |line: &str, c: char| line.find(c).unwrap();
    assert_eq!(at(&plain[1], 'x'), at(&plain[2], 'y'), "{plain:?}");
    assert!(lines[1].contains("\u{1b}[32mready\u{1b}[0m"), "{lines:?}");
}

#[test]
fn durations_are_short() {
    for (nanos, text) in [
        (900, "1 µs"),
        (12_345, "12 µs"),
        (3_449_000, "3.4 ms"),
        (1_200_000_000, "1.20 s"),
        (61_000_000_000, "1 min 1 s"),
    ] {
        assert_eq!(duration(nanos), text);
    }
}

#[test]
fn times_have_one_unit() {
    for (then, text) in [
        (200_000_000, "0 s ago"),
        (199_995_000, "5 s ago"),
        (199_700_000, "5 min ago"),
        (190_000_000, "2 h ago"),
        (0, "2 d ago"),
        (u64::MAX, "0 s ago"),
    ] {
        assert_eq!(ago(then, 200_000_000), text);
    }
}
