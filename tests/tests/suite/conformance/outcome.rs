//! What one scenario of the suite says in one run.

use std::{collections::BTreeSet, fmt};

use serde::Deserialize;

/// One entry of a `checks.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Check {
    id: String,
    status: String,
    #[serde(default)]
    error_message: Option<String>,
}

/// From good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// No check fails, none warns, and none that passes directly is missing.
    Pass,
    /// No check ran: the suite skips the scenario by itself.
    Skip,
    /// No check fails, but some that passes directly was not made.
    Less,
    /// No check fails, but some that is recommended does.
    Warn,
    /// A check fails, or there is no result.
    Fail,
}

impl Verdict {
    const ALL: [Self; 5] = [Self::Pass, Self::Skip, Self::Less, Self::Warn, Self::Fail];

    pub(super) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.to_string() == word)
    }

    /// Whether somebody must say why.
    pub(super) fn needs_a_reason(self) -> bool {
        self != Self::Pass
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Less => "less",
            Self::Warn => "warn",
            Self::Fail => "fail",
        })
    }
}

/// What a scenario gave.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) verdict: Verdict,
    /// The checks that passed.
    passed: BTreeSet<String>,
    /// What did not, with the suite's own words.
    pub(super) troubles: Vec<String>,
}

impl Outcome {
    /// Of the checks of one run.
    pub(super) fn of(checks: &[Check]) -> Self {
        let with = |status: &str| checks.iter().filter(|check| check.status == status).collect::<Vec<_>>();
        let (failed, warned, skipped) = (with("FAILURE"), with("WARNING"), with("SKIPPED"));
        // That the messages were well-formed is said of every scenario, also of one that did nothing.
        let passed: BTreeSet<String> =
            with("SUCCESS").iter().map(|check| check.id.clone()).filter(|id| id != WIRE_CHECK).collect();
        let verdict = match (failed.is_empty(), warned.is_empty(), passed.is_empty()) {
            (false, ..) => Verdict::Fail,
            (true, false, _) => Verdict::Warn,
            (true, true, false) => Verdict::Pass,
            (true, true, true) => Verdict::Skip,
        };
        let troubles = failed.iter().chain(&warned).chain(&skipped).map(|check| check.trouble()).collect();
        Self { verdict, passed, troubles }
    }

    /// Of a scenario that wrote no result.
    pub(super) fn missing() -> Self {
        Self { verdict: Verdict::Fail, passed: BTreeSet::new(), troubles: vec!["the suite wrote no result".to_owned()] }
    }

    /// The same, held against what the server gives without the broker.
    pub(super) fn compared_with(mut self, direct: &Self) -> Self {
        let lost: Vec<&str> = direct.passed.difference(&self.passed).map(String::as_str).collect();
        if self.verdict <= Verdict::Skip && !lost.is_empty() {
            self.verdict = Verdict::Less;
            self.troubles.push(format!("not made: {}", lost.join(", ")));
        }
        self
    }

    /// The same, made worse by something beside the checks.
    pub(super) fn failed_with(mut self, trouble: String) -> Self {
        self.verdict = Verdict::Fail;
        self.troubles.push(trouble);
        self
    }

    /// One line that says why it is no pass, the same one in the next run.
    pub(super) fn why(&self) -> String {
        let first = self.troubles.first().map_or("no check ran", String::as_str);
        let words: Vec<&str> =
            first.split_whitespace().map(|word| if is_of_this_run(word) { "…" } else { word }).collect();
        words.join(" ").chars().take(MAX_REASON_CHARS).collect()
    }
}

/// Whether a word holds an id that is another one in each run, as a UUID does.
fn is_of_this_run(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    word.len() >= 32 && digits >= 6
}

/// The id of the check that every scenario ends with.
const WIRE_CHECK: &str = "wire-schema-valid";
/// Longest reason that is written without a person.
const MAX_REASON_CHARS: usize = 200;

impl Check {
    fn trouble(&self) -> String {
        format!("{}: {}", self.id, self.error_message.as_deref().unwrap_or(&self.status))
    }
}
