//! A cluster under load, and every kind of fault: nothing that was acknowledged is lost, and nothing is done twice.

use spanwire_tests::cluster::{Options, run};

/// Each kind of fault once, from a fixed seed. `tests/faults.sh` runs the same for as long as one likes, from any seed.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_done_twice() {
    let options = Options::from_environment().unwrap();
    let report = run(&options).await.unwrap();
    println!("{report}");
    assert!(report.is_clean(), "{report}");
}
