//! Nothing that a server started outlives it or the broker.

use std::{
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{ChildStdout, Stdio},
    time::Instant,
};

use serde_json::json;

use super::*;

/// Ignores SIGTERM, leaves a grandchild in a session of its own behind, and tells the pids through files.
const STUBBORN: &str = r#"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen(["setsid", "sh", "-c", "trap '' TERM HUP; while :; do sleep 1; done"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    def handle(message):
        if greet(message, tools={}): return
        answer(message, {"pids": [os.getpid(), grandchild.pid]})
"#;

fn is_alive(pid: i64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

/// Waits for the end of processes that are no children of ours: there is no event for that.
async fn gone(pids: &[i64]) {
    let started = Instant::now();
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(started.elapsed() < Duration::from_secs(20), "still alive: {pids:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn pids(connected: &Connected) -> Vec<i64> {
    let result = ask(connected, Method::ToolsCall, json!({"name": "pids"})).await.unwrap();
    let pids: Vec<i64> = result.get("pids").unwrap().read().unwrap();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    pids
}

#[tokio::test]
async fn closing_ends_a_stubborn_server_and_its_grandchildren() {
    let connected = connect(&python(STUBBORN)).await.unwrap();
    let pids = pids(&connected).await;
    within(connected.upstream.close()).await;
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "close returns when all is gone");
}

#[tokio::test]
async fn dropping_the_connection_ends_the_server_too() {
    let connected = connect(&python(STUBBORN)).await.unwrap();
    let pids = pids(&connected).await;
    drop(connected);
    gone(&pids).await;
}

#[tokio::test]
async fn what_a_server_leaves_behind_is_cleaned_up_when_it_exits_itself() {
    let spec = python(
        r#"
        grandchild = subprocess.Popen(["setsid", "sleep", "1000"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        def handle(message):
            if greet(message, tools={}): return
            if message["params"]["name"] == "exit": os._exit(0)
            answer(message, {"pids": [os.getpid(), grandchild.pid]})
        "#,
    );
    let connected = connect(&spec).await.unwrap();
    let pids = pids(&connected).await;
    let error = ask(&connected, Method::ToolsCall, json!({"name": "exit"})).await.unwrap_err();
    assert_eq!(error.public, "server \"under-test\" exited with status 0 during tools/call");
    gone(&pids).await;
}

#[tokio::test]
async fn a_server_behind_a_shell_wrapper_ends_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let inner = format!("echo $$ > {}; while read line; do :; done; sleep 1000", pid_file.display());
    // As npx does it: a shell that waits for a shell.
    let wrapped = command("sh", &["-c", &format!("sh -c '{inner}'; exit $?")]);
    let mut config = config();
    config.settings.timeouts.probe = Duration::from_secs(30);
    let connector = StdioConnector::new(config);
    let connecting = connector.connect(&wrapped, None);
    let started = read_pid(&pid_file);
    let pid = tokio::select! {
        _ = connecting => panic!("a silent server was connected"),
        pid = started => pid,
    };
    gone(&[pid]).await;
}

async fn read_pid(file: &Path) -> i64 {
    let started = Instant::now();
    loop {
        if let Ok(Ok(pid)) = std::fs::read_to_string(file).map(|text| text.trim().parse()) {
            return pid;
        }
        assert!(started.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A shell that plays the broker, and the lines that it and its servers print.
fn shell(script: &str) -> (std::process::Child, Lines<BufReader<ChildStdout>>) {
    let mut shell = std::process::Command::new("bash")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    (shell, lines)
}

/// A broker that is killed cannot clean up: the guard does. Here a shell plays the broker.
#[tokio::test]
async fn killing_the_broker_leaves_no_orphan() {
    let server = "trap '' TERM; setsid sh -c \"trap '' TERM; echo \\$\\$; while :; do sleep 1; done\" & \
                  echo $$; while :; do sleep 1; done";
    let broker = format!(
        "set -m; {} guard --parent $$ --grace-ms 200 -- sh -c '{}' & wait",
        spanwire().display(),
        server.replace('\'', r"'\''"),
    );
    let (mut broker, mut lines) = shell(&broker);
    let pids: Vec<i64> = (0..2).map(|_| lines.next().unwrap().unwrap().parse().unwrap()).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    broker.kill().unwrap();
    broker.wait().unwrap();
    gone(&pids).await;
}

#[tokio::test]
async fn a_guard_without_its_broker_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("started");
    let output = tokio::process::Command::new(spanwire())
        .args(["guard", "--parent", "1", "--grace-ms", "100", "--", "touch"])
        .arg(&file)
        .output();
    let output = within(output).await.unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not the parent"));
    assert!(!file.exists());
}

#[tokio::test]
async fn the_guard_passes_on_the_exit_code() {
    let run = |script: &'static str| async move {
        let parent = std::process::id().to_string();
        let status = tokio::process::Command::new(spanwire())
            .args(["guard", "--parent", &parent, "--grace-ms", "100", "--", "sh", "-c", script])
            .status();
        within(status).await.unwrap().code()
    };
    assert_eq!(run("exit 0").await, Some(0));
    assert_eq!(run("exit 41").await, Some(41));
    assert_eq!(run("kill -9 $$").await, Some(137));
}

#[tokio::test]
async fn a_server_whose_lease_is_over_is_killed_with_all_that_it_started() {
    let now = tokio::time::Instant::now;
    let (lease, keeper) = spanwire_model::Lease::new("place.under-test.0", 1, now() + Duration::from_secs(3600));
    let connected = connect_fenced(&python(STUBBORN), &lease.fence()).await.unwrap();
    let pids = pids(&connected).await;
    keeper.valid_until.send_replace(now());
    gone(&pids).await;
    let error = ask(&connected, Method::ToolsCall, json!({"name": "pids"})).await.unwrap_err();
    assert!(error.public.contains("server \"under-test\" "), "{error}");
}

/// A broker whose lease is as good as over is killed: its guard's own patience is longer than that lease.
#[tokio::test]
async fn a_guard_without_its_broker_gives_no_grace_beyond_the_lease() {
    let folder = tempfile::tempdir().unwrap();
    let leash = folder.path().join("lease");
    std::fs::write(&leash, format!("{:020}\n", u64::MAX / 2)).unwrap();
    let broker = format!(
        "set -m; {} guard --parent $$ --grace-ms 3600000 --leash {} -- \
         sh -c 'trap \"echo told\" TERM; echo $$; while :; do sleep 0.1; done' & wait",
        spanwire().display(),
        leash.display(),
    );
    let (mut broker, mut lines) = shell(&broker);
    let pid: i64 = lines.next().unwrap().unwrap().parse().unwrap();
    broker.kill().unwrap();
    broker.wait().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "told", "it gets a grace");
    assert!(is_alive(pid));
    std::fs::write(&leash, format!("{:020}\n", 0)).unwrap();
    gone(&[pid]).await;
}

/// The machine slept after the broker looked at its lease, or the broker was paused.
#[tokio::test]
async fn a_guard_whose_lease_is_over_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (leash, file) = (folder.path().join("lease"), folder.path().join("started"));
    let run = async |until_ms: u64| {
        std::fs::write(&leash, format!("{until_ms:020}\n")).unwrap();
        let parent = std::process::id().to_string();
        let guard = tokio::process::Command::new(spanwire())
            .args(["guard", "--parent", &parent, "--grace-ms", "100", "--leash"])
            .arg(&leash)
            .args(["--", "touch"])
            .arg(&file)
            .output();
        within(guard).await.unwrap()
    };
    let over = run(0).await;
    assert_eq!(over.status.code(), Some(137));
    assert!(String::from_utf8_lossy(&over.stderr).contains("the lease is over"));
    assert!(!file.exists());
    assert!(run(u64::MAX / 2).await.status.success());
    assert!(file.exists());
}

#[tokio::test]
async fn whoever_waits_for_a_server_waits_for_one_whose_handshake_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let pid_file = folder.path().join("pid");
    let script = "trap '' TERM; echo $$ > \"$0\"; while :; do sleep 0.1; done";
    let silent = command("sh", &["-c", script, &pid_file.to_string_lossy()]);
    let mut config = config();
    config.settings.timeouts.probe = Duration::from_secs(30);
    config.grace = Duration::from_millis(200);
    let connector = StdioConnector::new(config);
    let pid = tokio::select! {
        _ = connector.connect(&silent, None) => panic!("a silent server was connected"),
        pid = read_pid(&pid_file) => pid,
    };
    within(connector.gone(&silent.id)).await;
    assert!(!is_alive(pid), "whoever starts it now has two of them");
}
