//! Server scenarios: directly, through one node, through two, and with the eras crossed.

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    deployment::{Deployment, Way},
    expected,
    outcome::Verdict,
    suite::{Results, Suite},
};

/// Runs of the suite at once. They wait most of the time, but some of their waits are half a second long.
const RUNS: usize = 4;

async fn check(revision: &str, is_modern: bool) {
    let suite = Suite::find().unwrap();
    let deployment = Deployment::start(is_modern).await.unwrap();
    let all = Way::ALL.into_iter().map(async |way| {
        let results = suite.server(&deployment.url(way), revision).await?;
        anyhow::Ok((way.name().to_owned(), results))
    });
    let mut runs: Vec<(String, Results)> = stream::iter(all).buffered(RUNS).try_collect().await.unwrap();
    deployment.stop().await.unwrap();

    let direct = runs[0].1.clone();
    assert!(direct.values().any(|outcome| outcome.verdict == Verdict::Pass), "{direct:?}");
    for (_, results) in &mut runs[1..] {
        for (scenario, outcome) in results.iter_mut() {
            if let Some(direct) = direct.get(scenario) {
                *outcome = outcome.clone().compared_with(direct);
            }
        }
    }
    expected::check(&format!("server {revision}"), &runs).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn server_scenarios_of_2026_07_28() {
    check("2026-07-28", true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_scenarios_of_2025_11_25() {
    check("2025-11-25", false).await;
}
