//! Client scenarios with the broker as the client under test: `tests/conformance/client.mjs` starts a node before the
//! scenario's server and does, as the node's own client, what the scenario waits for.

use futures::{StreamExt, TryStreamExt, stream};
use spanwire_tests::node;

use super::{
    deployment::file,
    expected,
    suite::{Results, Suite},
};

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// What is run, and at which revisions. `client/scenarios.mjs` has the other half.
const SCENARIOS: [(&str, &[&str]); 11] = [
    ("initialize", &[LEGACY]),
    ("tools_call", &[LEGACY, MODERN]),
    ("elicitation-sep1034-client-defaults", &[LEGACY]),
    ("sse-retry", &[LEGACY]),
    ("request-metadata", &[MODERN]),
    ("sep-2322-client-request-state", &[MODERN]),
    ("http-standard-headers", &[MODERN]),
    ("http-custom-headers", &[MODERN]),
    ("http-invalid-tool-headers", &[MODERN]),
    ("json-schema-ref-no-deref", &[MODERN]),
    ("json-schema-2020-12-preservation", &[LEGACY, MODERN]),
];

/// What is not run, by the beginning of its name, and why.
const NOT_RUN: [(&str, &str); 2] = [
    ("auth/", "the broker does not authorise itself to servers yet; another issue"),
    ("sep-2640-", "the skills extension is in no requirement set, and nothing of it is the broker's"),
];

/// Runs of the suite at once: each is three processes, and one scenario measures half a second.
const RUNS: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn client_scenarios() {
    let suite = Suite::find().unwrap();
    let program = node::program().unwrap();
    let mut runs: Vec<(String, Results)> = Vec::new();
    // The era of the node's own client: in one of the two, the broker bridges.
    for era in ["modern", "legacy"] {
        let command = format!("node {} --client {era} --program {}", file("client.mjs").display(), program.display());
        let all = SCENARIOS.iter().flat_map(|(scenario, revisions)| revisions.iter().map(move |at| (*scenario, *at)));
        let results = stream::iter(all.map(async |(scenario, revision)| {
            let outcome = suite.client(&command, scenario, revision).await?;
            anyhow::Ok((format!("{scenario}@{revision}"), outcome))
        }));
        runs.push((era.to_owned(), results.buffer_unordered(RUNS).try_collect().await.unwrap()));
    }
    expected::check("client", &runs).unwrap();
}

#[tokio::test]
async fn every_client_scenario_of_the_suite_is_run_or_not_for_a_reason() {
    let named = |scenario: &str| SCENARIOS.iter().any(|(name, _)| *name == scenario);
    let excused = |scenario: &str| NOT_RUN.iter().any(|(start, why)| scenario.starts_with(start) && !why.is_empty());
    let all = Suite::find().unwrap().client_scenarios().await.unwrap();
    let forgotten: Vec<&String> = all.iter().filter(|scenario| !named(scenario) && !excused(scenario)).collect();
    assert!(forgotten.is_empty(), "neither run nor excused: {forgotten:?}");
    let gone: Vec<_> = SCENARIOS.iter().filter(|(name, _)| !all.iter().any(|scenario| scenario == name)).collect();
    assert!(gone.is_empty(), "the suite does not have {gone:?}");
}
