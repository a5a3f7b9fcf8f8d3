#![allow(clippy::unwrap_used)]

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Patience = Patience { suspect: Duration::from_secs(4), gone: Duration::from_secs(12) };

fn id(name: &str) -> NodeId {
    name.parse().unwrap()
}

/// What happens in a second: whose heartbeats arrive, and whether there is a connection.
#[derive(Clone, Copy)]
struct Second {
    own: bool,
    peer: bool,
    connected: bool,
}

const FINE: Second = Second { own: true, peer: true, connected: true };
const SILENT: Second = Second { own: true, peer: false, connected: true };
const DEAF: Second = Second { own: false, peer: false, connected: true };
const CUT_OFF: Second = Second { own: false, peer: false, connected: false };

/// The states in which the peer is shown, each with the second in which it began; a minus is gone.
fn check(seconds: &[(u32, Second)], expected: &str) {
    let start = Instant::now();
    let mut presence = Presence::new(PATIENCE, start);
    let (mut now, mut shown, mut states) = (start, String::new(), Vec::new());
    let all = seconds.iter().flat_map(|(count, second)| std::iter::repeat_n(*second, usize::try_from(*count).unwrap()));
    for (at, second) in all.enumerate() {
        now += SECOND;
        if second.own {
            presence.echo(now);
        }
        if second.peer {
            presence.alive(&id("b"), false, &"1".into(), now);
        }
        presence.look(second.connected, now);
        let state = presence.nodes(now).first().map_or("-", |node| node.state.as_str()).to_owned();
        if state != shown {
            states.push(format!("{state} {at}"));
            shown = state;
        }
    }
    assert_eq!(states.join(", "), expected);
    assert!(presence.nodes(now).iter().all(|node| node.silent <= now - start));
}

#[test]
fn a_silent_node_is_suspect_and_then_gone() {
    check(&[(3, FINE)], "alive 0");
    check(&[(1, FINE), (4, SILENT), (1, FINE)], "alive 0");
    check(&[(1, FINE), (6, SILENT), (1, FINE)], "alive 0, suspect 5, alive 7");
    check(&[(1, FINE), (20, SILENT), (1, FINE)], "alive 0, suspect 5, - 13, alive 21");
}

#[test]
fn a_node_that_is_cut_off_suspects_everybody_and_buries_nobody() {
    // Without a connection at once, with one that brings nothing after the time that makes any node suspect.
    check(&[(1, FINE), (60, CUT_OFF), (5, FINE)], "alive 0, suspect 1, alive 61");
    check(&[(1, FINE), (60, DEAF), (5, FINE)], "alive 0, suspect 5, alive 61");
    // When it hears again, each has its whole time.
    check(&[(1, FINE), (60, CUT_OFF), (14, SILENT)], "alive 0, suspect 1, - 74");
    check(&[(1, FINE), (60, DEAF), (12, SILENT), (1, FINE)], "alive 0, suspect 5, alive 73");
    // A short interruption is over when it is over.
    check(&[(1, FINE), (1, CUT_OFF), (1, SILENT)], "alive 0, suspect 1, alive 2");
}

#[test]
fn words_count_at_once() {
    let now = Instant::now();
    let mut presence = Presence::new(PATIENCE, now);
    let (b, one, two): (_, Arc<str>, Arc<str>) = (id("b"), "1".into(), "2".into());
    assert!(presence.alive(&b, false, &one, now), "new");
    assert!(!presence.alive(&b, false, &one, now), "as before");
    assert!(presence.alive(&b, true, &one, now), "draining");
    assert_eq!(presence.nodes(now)[0].state, NodeState::Draining);
    assert_eq!(presence.look(true, now), (vec![], false));
    presence.echo(now + SECOND * 5);
    assert_eq!(presence.look(true, now + SECOND * 5), (vec![], true), "a draining node may be suspect too");
    assert_eq!(presence.nodes(now + SECOND * 5)[0].silent, SECOND * 5);
    assert!(presence.alive(&b, false, &two, now + SECOND * 5), "another version");
    assert!(presence.left(&b, now + SECOND * 6) && !presence.left(&b, now + SECOND * 6));
    assert!(presence.nodes(now).is_empty());
}

#[test]
fn after_a_pause_of_this_node_one_queued_word_buries_nobody() {
    let (start, after) = (Instant::now(), Instant::now() + SECOND * 60);
    let (b, c, version): (_, _, Arc<str>) = (id("b"), id("c"), "1".into());
    let words: [&dyn Fn(&mut Presence); 3] = [
        &|presence| presence.echo(after),
        &|presence| assert!(presence.alive(&c, false, &version, after)),
        &|presence| assert!(!presence.left(&c, after)),
    ];
    for word in words {
        let mut presence = Presence::new(PATIENCE, start);
        presence.alive(&b, false, &version, start);
        word(&mut presence);
        assert_eq!(presence.look(true, after).0, []);
        assert!(presence.knows(&b));
        // From then on its silence counts.
        let gone = (1..=13).flat_map(|second| {
            presence.echo(after + SECOND * second);
            presence.look(true, after + SECOND * second).0.into_iter().map(move |node| (second, node))
        });
        let gone: Vec<_> = gone.filter(|(_, node)| *node == b).collect();
        assert_eq!(gone, [(13, b.clone())]);
    }
}
