//! A cluster under load, and every kind of fault: nothing that was acknowledged is lost, and nothing is done twice.

use spanwire_tests::cluster::{Lines, Options, fault::Kind, is_apart, run, run_apart};

/// Each kind of fault once, from a fixed seed, in network namespaces where that is allowed. `tests/faults.sh` runs the same for as long as
/// one likes, from any seed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_done_twice() {
    let options = Options::from_environment().unwrap();
    if options.lines == Lines::Any && !is_apart() {
        let test = "faults::cluster::nothing_is_lost_and_nothing_is_done_twice";
        if let Some(ended) = run_apart(test).unwrap() {
            assert!(ended.success(), "the run apart ended with {ended}");
            return;
        }
    }
    check(&options).await;
}

/// The same for faults of lines that are proxies, as on a machine that allows nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_behind_proxies() {
    let kinds = Some(vec![Kind::CutOffNode, Kind::SplitMinority]);
    check(&Options { kinds, length: None, lines: Lines::Proxies, ..Options::from_environment().unwrap() }).await;
}

async fn check(options: &Options) {
    let report = run(options).await.unwrap();
    println!("{report}");
    assert!(report.is_clean(), "{report}");
}
