use super::*;

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn hash(text: &str) -> Hash {
    Hash::of(text.as_bytes())
}

/// A node that hears, with a clock of its own.
struct Listener {
    voices: Voices,
    /// What it has itself after every entry.
    own: Option<Hash>,
    now: Instant,
    /// Whether the log has its first entry.
    is_whole: bool,
}

impl Listener {
    /// Its log was compacted.
    fn new(me: &str, own: &str) -> Self {
        Self { voices: Voices::new(node(me)), own: Some(hash(own)), now: Instant::now(), is_whole: false }
    }

    fn with_whole_log(self) -> Self {
        Self { is_whole: true, ..self }
    }

    /// Hears who says what about an entry.
    fn hears(&mut self, of: u64, said: &[(&str, &str)]) -> &mut Self {
        for (name, said) in said {
            self.voices.hear(Voice { of, hash: hash(said), node: node(name), own: self.own });
        }
        self
    }

    /// All that there is to do now, in short.
    fn does(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        while let Some(verdict) = self.voices.judge(self.now, self.is_whole) {
            let names = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let again = |is_new: bool| if is_new { "" } else { " again" };
            let (text, is_end) = match verdict {
                Verdict::Say { of, hash } => {
                    assert_eq!(Some(hash), self.own);
                    (format!("say {of}"), false)
                }
                Verdict::Right { of, wrong, is_new, .. } => {
                    (format!("right {of}, not {}{}", names(&wrong), again(is_new)), false)
                }
                Verdict::Even { of, others, is_new } => {
                    (format!("even {of} with {}{}", names(&others), again(is_new)), false)
                }
                Verdict::Settled { of, were } => (format!("settled {of}, not {}", names(&were)), false),
                Verdict::Wrong { of, is_even: false, .. } => (format!("wrong {of}"), true),
                Verdict::Wrong { of, is_even: true, .. } => (format!("replay for {of}"), true),
            };
            done.push(text);
            if is_end {
                break;
            }
        }
        done
    }

    fn waits(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// Its view is made anew from a snapshot, and the log is read again.
    fn is_made_anew(&mut self, own: &str, of: u64, said: &[(&str, &str)]) -> &mut Self {
        self.voices.made_anew(false);
        self.own = Some(hash(own));
        self.hears(of, said)
    }

    /// Its view is made anew from the whole log.
    fn replays(&mut self, own: &str, of: u64, said: &[(&str, &str)]) -> &mut Self {
        self.voices.made_anew(true);
        self.own = Some(hash(own));
        self.hears(of, said)
    }

    /// An entry that nobody speaks against.
    fn is_left_in_peace(&mut self, of: u64, own: &str) -> Vec<String> {
        let mut done = self.hears(of, &[("d", own)]).does();
        done.extend(self.waits(SPEAK_WITHIN).does());
        done
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn where_all_say_the_same_there_is_nothing_to_do() {
    let mut a = Listener::new("a", "x");
    assert_eq!(a.hears(10, &[("a", "x"), ("b", "x")]).does(), NOTHING);
    assert!(!a.voices.is_disputed() && !a.voices.is_confirmed(), "somebody may still object");
    assert_eq!(a.voices.wake_at(), Some(a.now + SPEAK_WITHIN));
    assert_eq!(a.waits(SPEAK_WITHIN).does(), NOTHING);
    assert!(a.voices.is_confirmed());
    assert_eq!(a.voices.wake_at(), None);
    // What is not known here is not judged.
    a.own = None;
    assert_eq!(a.hears(20, &[("b", "y")]).waits(LOOK_WITHIN * 2).does(), NOTHING);
    assert!(!a.voices.is_disputed());
    assert_eq!(a.voices.wake_at(), None);
}

#[test]
fn one_of_three_who_is_wrong_is_the_one_that_is_made_anew() {
    // The one that tends the logs is wrong, and speaks first.
    let mut right = Listener::new("b", "x").with_whole_log();
    assert_eq!(right.hears(10, &[("a", "bad")]).does(), ["say 10"]);
    assert!(right.voices.is_disputed());
    assert_eq!(right.hears(10, &[("b", "x"), ("c", "x")]).does(), ["right 10, not a"]);
    assert!(right.does().is_empty() && !right.voices.is_disputed());
    assert_eq!(right.waits(LOOK_WITHIN * 2).does(), NOTHING, "it never doubts itself");
    let more = right.hears(20, &[("a", "bad"), ("b", "x"), ("c", "x")]).does();
    assert_eq!(more, ["right 20, not a again"]);

    let mut wrong = Listener::new("a", "bad");
    let said = [("a", "bad"), ("b", "x"), ("c", "x")];
    assert_eq!(wrong.hears(10, &said).does(), NOTHING, "there may be others who say the same");
    assert!(wrong.voices.wake_at().is_some());
    assert_eq!(wrong.waits(SPEAK_WITHIN).does(), ["wrong 10"]);
    assert_eq!(wrong.is_made_anew("x", 10, &said).does(), ["say 10"], "it takes back what it said");
    assert_eq!(wrong.hears(10, &[("a", "x")]).does(), NOTHING);
    assert!(wrong.voices.is_confirmed());

    let said = right.hears(20, &[("a", "x")]).waits(SPEAK_WITHIN).does();
    assert_eq!(said, ["settled 20, not a"]);
    assert!(right.voices.is_confirmed() && !right.voices.is_disputed());
}

#[test]
fn who_stays_alone_is_wrong_after_each_base() {
    let mut wrong = Listener::new("a", "bad");
    let said = [("b", "x"), ("a", "bad"), ("c", "x")];
    wrong.hears(10, &said).does();
    for base in ["bad", "bad", "worse"] {
        assert_eq!(wrong.waits(SPEAK_WITHIN).does().last().unwrap(), "wrong 10");
        // It was right for a while.
        wrong.is_made_anew("x", 5, &[("c", "x")]);
        wrong.own = Some(hash(base));
        wrong.hears(10, &said).does();
        assert!(!wrong.voices.is_confirmed(), "its bases are used up");
    }
}

#[test]
fn where_nobody_can_know_both_go_on_and_say_so() {
    for first in ["a", "b"] {
        let mut b = Listener::new("b", "x");
        b.hears(10, &[(first, if first == "a" { "bad" } else { "x" }), ("a", "bad"), ("b", "x")]);
        assert_eq!(b.does(), NOTHING);
        assert!(b.voices.is_disputed());
        assert_eq!(b.waits(SPEAK_WITHIN).does(), ["even 10 with a"]);
        assert!(b.voices.is_even() && !b.voices.is_disputed());
        assert_eq!(b.waits(LOOK_WITHIN * 2).does(), NOTHING);
        // Once is enough, and nothing waits for it.
        assert_eq!(b.hears(20, &[("a", "bad"), ("b", "x")]).does(), ["even 20 with a again"]);
        // A third node decides.
        assert_eq!(b.hears(20, &[("c", "x")]).does(), ["right 20, not a again"]);
        let mut other = Listener::new("b", "x");
        other.hears(20, &[("a", "bad"), ("b", "x")]).does();
        assert_eq!(other.waits(SPEAK_WITHIN).does(), ["even 20 with a"]);
        other.hears(20, &[("c", "bad")]).does();
        assert_eq!(other.waits(SPEAK_WITHIN).does(), ["wrong 20"]);
    }
}

#[test]
fn of_two_the_one_that_objects_looks_into_the_whole_log_first() {
    // It is right.
    let mut right = Listener::new("b", "x").with_whole_log();
    assert_eq!(right.hears(10, &[("a", "bad")]).does(), ["say 10"]);
    assert_eq!(right.hears(10, &[("b", "x")]).does(), NOTHING);
    assert_eq!(right.waits(SPEAK_WITHIN).does(), ["replay for 10"]);
    let said = [("a", "bad"), ("b", "x")];
    assert_eq!(right.replays("x", 10, &said).does(), ["right 10, not a"]);
    assert_eq!(right.hears(20, &[("a", "bad again")]).does(), ["say 20", "right 20, not a again"], "once is enough");
    // The other one is patient, and then as thorough.
    let mut wrong = Listener::new("a", "bad").with_whole_log();
    assert_eq!(wrong.hears(10, &said).does(), NOTHING);
    assert_eq!(wrong.waits(SPEAK_WITHIN).does(), NOTHING);
    assert_eq!(wrong.waits(LOOK_WITHIN).does(), ["replay for 10"]);
    assert_eq!(wrong.replays("x", 10, &said).does(), ["say 10"]);
    // It counts again as soon as an entry is left in peace.
    assert_eq!(right.hears(20, &[("a", "x")]).waits(SPEAK_WITHIN).does(), ["settled 20, not a"]);
    assert_eq!(right.hears(30, &[("a", "bad"), ("b", "x")]).does(), NOTHING);
    assert_eq!(right.waits(SPEAK_WITHIN).does(), ["replay for 30"]);
}

#[test]
fn who_was_wrong_counts_again_although_those_who_agree_say_nothing() {
    let mut d = Listener::new("d", "x");
    d.hears(10, &[("d", "x"), ("c", "x"), ("b", "bad")]);
    assert_eq!(d.does(), ["right 10, not b"]);
    assert_eq!(d.is_left_in_peace(20, "x"), ["settled 20, not b"]);
    d.own = Some(hash("worse"));
    assert_eq!(d.hears(30, &[("d", "worse"), ("b", "x")]).does(), NOTHING);
    assert_eq!(d.waits(SPEAK_WITHIN).does(), ["even 30 with b"]);
}

#[test]
fn what_a_node_said_before_it_was_started_again_is_no_voice() {
    let mut a = Listener::new("a", "x");
    assert_eq!(a.hears(10, &[("a", "bad"), ("b", "x")]).does(), ["say 10"]);
    assert!(!a.voices.is_disputed());
    assert_eq!(a.waits(LOOK_WITHIN).does(), NOTHING);
    // Nor is it one more against this node.
    let mut a = Listener::new("a", "x");
    assert_eq!(a.hears(10, &[("a", "bad"), ("b", "bad")]).does(), ["say 10"]);
    assert_eq!(a.waits(SPEAK_WITHIN).does(), ["even 10 with b"]);
}

#[test]
fn a_dispute_is_not_forgotten_for_those_that_follow() {
    let mut a = Listener::new("a", "x").with_whole_log();
    a.hears(1, &[("a", "x"), ("b", "bad")]);
    assert_eq!(a.does(), NOTHING);
    for of in 2..2 + 2 * MAX_ENTRIES as u64 {
        a.hears(of, &[("a", "x")]);
    }
    assert_eq!(a.voices.entries.len(), MAX_ENTRIES);
    assert_eq!(a.waits(LOOK_WITHIN).does(), ["replay for 1"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut a = Listener::new("a", "x");
    let entries = 2 * MAX_ENTRIES as u64;
    for of in 0..entries {
        a.hears(of, &[("b", "y")]);
    }
    assert_eq!(a.voices.entries.len(), MAX_ENTRIES);
    for number in 0..MAX_NODES + 10 {
        a.hears(entries - 1, &[(&format!("n{number}"), "x")]);
    }
    assert_eq!(a.voices.entries[&(entries - 1)].said.len(), MAX_NODES);
    // What is settled takes no place.
    let mut a = Listener::new("a", "x");
    for of in 0..10 {
        a.is_left_in_peace(of, "x");
    }
    assert_eq!(a.voices.entries.len(), 1);
}
