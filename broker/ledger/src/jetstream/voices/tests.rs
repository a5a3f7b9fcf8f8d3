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
}

impl Listener {
    fn new(me: &str, own: &str) -> Self {
        Self { voices: Voices::new(node(me)), own: Some(hash(own)), now: Instant::now() }
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
        while let Some(verdict) = self.voices.judge(self.now) {
            let names = |nodes: &[NodeId]| nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
            let (text, is_end) = match verdict {
                Verdict::Say { of, hash } => {
                    assert_eq!(Some(hash), self.own);
                    (format!("say {of}"), false)
                }
                Verdict::Right { of, wrong, .. } => (format!("right {of}, not {}", names(&wrong)), false),
                Verdict::Settled { of, was_wrong } => (format!("settled {of}, not {}", names(&was_wrong)), false),
                Verdict::Wrong { of, .. } => (format!("wrong {of}"), true),
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

    /// Its view is made anew, and the log is read again.
    fn is_made_anew(&mut self, own: &str, of: u64, said: &[(&str, &str)]) -> &mut Self {
        self.voices.made_anew();
        self.own = Some(hash(own));
        self.hears(of, said)
    }
}

#[test]
fn where_all_say_the_same_there_is_nothing_to_do() {
    let mut a = Listener::new("a", "x");
    assert!(a.hears(10, &[("a", "x"), ("b", "x")]).does().is_empty());
    assert!(a.voices.is_confirmed() && !a.voices.is_disputed() && !a.voices.is_news());
    assert_eq!(a.voices.wake_at(), None);
    // What is not known here is not judged.
    a.own = None;
    assert!(a.hears(20, &[("b", "y")]).waits(LOOK_WITHIN * 2).does().is_empty());
    assert!(!a.voices.is_confirmed() && !a.voices.is_disputed());
}

#[test]
fn one_of_three_who_is_wrong_is_the_one_that_is_made_anew() {
    // The one that tends the logs is wrong, and speaks first.
    let mut right = Listener::new("b", "x");
    assert_eq!(right.hears(10, &[("a", "bad")]).does(), ["say 10"]);
    assert!(right.voices.is_disputed());
    assert_eq!(right.hears(10, &[("b", "x"), ("c", "x")]).does(), ["right 10, not a"]);
    assert!(right.does().is_empty() && !right.voices.is_disputed());
    assert!(right.waits(LOOK_WITHIN * 2).does().is_empty(), "it never doubts itself");

    let mut wrong = Listener::new("a", "bad");
    let said = [("a", "bad"), ("b", "x"), ("c", "x")];
    assert!(wrong.hears(10, &said).does().is_empty(), "there may be others who say the same");
    assert!(wrong.voices.wake_at().is_some());
    assert_eq!(wrong.waits(SPEAK_WITHIN).does(), ["wrong 10"]);
    assert_eq!(wrong.is_made_anew("x", 10, &said).does(), ["say 10"], "it takes back what it said");
    assert!(wrong.hears(10, &[("a", "x")]).does().is_empty());
    assert!(wrong.voices.is_confirmed());

    assert_eq!(right.hears(10, &[("a", "x")]).does(), ["settled 10, not a"]);
    assert!(right.voices.is_confirmed());
}

#[test]
fn who_stays_alone_is_wrong_after_each_base() {
    let mut wrong = Listener::new("a", "bad");
    let said = [("b", "x"), ("a", "bad"), ("c", "x")];
    wrong.hears(10, &said).does();
    for base in ["bad", "bad", "worse"] {
        assert_eq!(wrong.waits(SPEAK_WITHIN).does().last().unwrap(), "wrong 10");
        wrong.is_made_anew(base, 10, &said).does();
    }
}

#[test]
fn of_two_the_one_that_objects_looks_into_itself_first() {
    // It is right.
    let mut right = Listener::new("b", "x");
    assert_eq!(right.hears(10, &[("a", "bad")]).does(), ["say 10"]);
    assert!(right.hears(10, &[("b", "x")]).does().is_empty());
    assert_eq!(right.waits(SPEAK_WITHIN).does(), ["wrong 10"]);
    let said = [("a", "bad"), ("b", "x")];
    assert_eq!(right.is_made_anew("x", 10, &said).does(), ["right 10, not a"], "two bases agree");
    assert_eq!(right.hears(20, &[("a", "bad again")]).does(), ["say 20", "right 20, not a"], "once is enough");
    // The other one is patient, and then as thorough.
    let mut wrong = Listener::new("a", "bad");
    assert!(wrong.hears(10, &said).does().is_empty());
    assert!(wrong.waits(SPEAK_WITHIN).does().is_empty());
    assert_eq!(wrong.waits(LOOK_WITHIN).does(), ["wrong 10"]);
    assert_eq!(wrong.is_made_anew("x", 10, &said).does(), ["say 10"]);
    // From then on it counts again.
    right.hears(10, &[("a", "x")]).does();
    assert_eq!(right.hears(30, &[("a", "bad"), ("b", "x")]).does(), Vec::<String>::new());
    assert_eq!(right.waits(SPEAK_WITHIN).does(), ["wrong 30"]);
}

#[test]
fn of_two_the_one_whose_bases_differ_finds_no_end_by_itself() {
    let mut b = Listener::new("b", "bad");
    let said = [("a", "x"), ("b", "bad")];
    b.hears(10, &said);
    assert_eq!(b.waits(SPEAK_WITHIN).does(), [] as [&str; 0]);
    assert_eq!(b.waits(SPEAK_WITHIN).does(), ["wrong 10"]);
    assert_eq!(b.is_made_anew("worse", 10, &said).does(), ["say 10"]);
    assert_eq!(b.waits(SPEAK_WITHIN).does(), ["wrong 10"]);
    assert_eq!(b.is_made_anew("bad", 10, &said).does(), ["right 10, not a"]);
}

#[test]
fn a_node_compares_with_what_it_said_itself_before_it_was_started_again() {
    let mut a = Listener::new("a", "bad");
    assert!(a.hears(10, &[("a", "x")]).does().is_empty());
    assert_eq!(a.waits(LOOK_WITHIN).does(), ["wrong 10"]);
    assert!(a.is_made_anew("x", 10, &[("a", "x")]).does().is_empty());
    // What it said was wrong.
    let mut a = Listener::new("a", "x");
    a.hears(10, &[("a", "bad")]).does();
    assert_eq!(a.waits(LOOK_WITHIN).does(), ["wrong 10"]);
    assert_eq!(a.is_made_anew("x", 10, &[("a", "bad")]).does(), ["right 10, not a", "say 10"]);
    assert_eq!(a.hears(10, &[("a", "x")]).does(), ["settled 10, not a"]);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut a = Listener::new("a", "x");
    for of in 0..100 {
        a.hears(of, &[("b", "x")]);
    }
    assert_eq!(a.voices.entries.len(), MAX_ENTRIES);
    for number in 0..MAX_NODES + 10 {
        a.hears(99, &[(&format!("n{number}"), "x")]);
    }
    assert_eq!(a.voices.entries[&99].said.len(), MAX_NODES);
}
