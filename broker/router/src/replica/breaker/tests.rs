use super::*;

/// What happens to a replica, at which millisecond: `ok`, `bad` or `?` is a whole call; `heard` is a part of its answer; `+` begins one that ends with the next word in
/// brackets; any other word is the trust that is expected then.
fn check(script: &str) {
    let start = Instant::now();
    let (mut breaker, mut begun) = (Breaker::Closed { failures: 0 }, Vec::new());
    for step in script.split(',').map(str::trim) {
        let (ms, what) = step.split_once(' ').unwrap_or(("0", step));
        let now = start + Duration::from_millis(ms.parse().unwrap_or_default());
        let end = |breaker: &mut Breaker, verdict, trial| *breaker = breaker.end(verdict, trial, now, 0.0);
        let verdict = |word: &str| match word {
            "ok" => Some(Verdict::Well),
            "bad" => Some(Verdict::Sick),
            "?" => Some(Verdict::Unknown),
            _ => None,
        };
        if let Some(verdict) = verdict(what) {
            let (next, trial) = breaker.begin(now);
            breaker = next;
            end(&mut breaker, verdict, trial);
        } else if what == "heard" {
            breaker = breaker.heard();
        } else if what == "+" {
            let (next, trial) = breaker.begin(now);
            breaker = next;
            begun.push(trial);
        } else if let Some(verdict) = what.strip_prefix('-').and_then(verdict) {
            let trial = begun.remove(0);
            end(&mut breaker, verdict, trial);
        } else {
            assert_eq!(format!("{:?}", breaker.trust(now)), what, "at {ms} of {script}: {breaker:?}");
        }
    }
}

#[test]
fn failures_in_a_row_open_it() {
    check("0 bad, 0 bad, 0 Well, 0 bad, 0 Sick");
    check("0 bad, 0 bad, 0 ok, 0 bad, 0 bad, 0 Well");
    check("0 bad, 0 ?, 0 bad, 0 ?, 0 Well, 0 bad, 0 Sick");
    check("0 ?, 0 ?, 0 ?, 0 ?, 0 Well");
}

#[test]
fn one_call_tries_it_after_a_pause_that_doubles() {
    check("0 bad, 0 bad, 0 bad, 999 Sick, 1000 Trial, 1000 +, 1000 Sick, 1100 -ok, 1100 Well");
    check(
        "0 bad, 0 bad, 0 bad, 1000 bad, 2999 Sick, 3000 bad, 6999 Sick, 7000 Trial, 7000 ok, 7000 Well, 7000 bad, 7000 Well",
    );
    // The trial ends without a word: the next call is one.
    check("0 bad, 0 bad, 0 bad, 1000 ?, 1000 Trial");
}

#[test]
fn a_trial_that_is_heard_of_need_not_end() {
    check("0 bad, 0 bad, 0 bad, 1000 +, 1000 Sick, 1001 heard, 1001 Well, 9000 -ok, 9000 bad, 9000 bad, 9000 Well");
    // It breaks off all the same.
    check("0 bad, 0 bad, 0 bad, 1000 +, 1001 heard, 1002 -bad, 1002 Sick, 2002 Trial");
    // What is heard of a call does not hide that calls break off.
    check("0 +, 0 heard, 0 -bad, 0 +, 0 heard, 0 -bad, 0 Well, 0 +, 0 heard, 0 -bad, 0 Sick");
}

#[test]
fn calls_that_are_no_trial_change_little() {
    // Two that were sent before it opened: the failure of one adds nothing, the answer of the other one closes it.
    check("0 +, 0 +, 0 bad, 0 bad, 0 bad, 500 -bad, 1000 Trial, 1000 -ok, 1000 Well");
    check("0 +, 0 bad, 0 bad, 0 bad, 1000 +, 1100 -bad, 1100 Sick, 1200 -bad, 3199 Sick, 3200 Trial");
}

#[test]
fn pauses_have_a_limit_and_are_spread() {
    for times in 1..100 {
        let (longest, shortest) = (pause(times, 0.0), pause(times, 1.0));
        assert!(longest <= PAUSE_MAX && shortest >= PAUSE_MIN / 2 && shortest * 2 == longest, "{times}");
    }
}
