//! `spanwire doctor` on real nats-servers, with no node running.

use serde_json::Value;
use spanwire_tests::{
    certificates::{Authority, Certificate},
    nats::NatsServer,
};

use super::{Place, Run};

/// A node that would use this NATS, on ports that are surely free.
fn examined(nats: &str, more: &[&str]) -> (Run, Vec<Value>) {
    let place = Place::new();
    let listen = "[listen]\nhttp = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'\n";
    place.file("spanwire.toml", &format!("{listen}[nats]\n{nats}\n"));
    // Nobody listens on port 1.
    let run = place.run(&[&["doctor", "--json", "--node", "http://127.0.0.1:1"], more].concat());
    let checks = run.json()["checks"].as_array().unwrap().clone();
    (run, checks)
}

/// Asserts how a check ended, and what it says about it.
fn has(checks: &[Value], check: &str, verdict: &str, part: &str) {
    let found = checks.iter().any(|one| {
        let text = format!("{} / {}", one["found"].as_str().unwrap(), one["advice"].as_str().unwrap());
        one["check"] == check && one["verdict"] == verdict && text.contains(part)
    });
    assert!(found, "{check} {verdict} {part:?}: {checks:#?}");
}

fn has_no(checks: &[Value], check: &str) {
    assert!(checks.iter().all(|one| one["check"] != check), "{check}: {checks:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_nothing_at_a_good_nats() {
    let server = NatsServer::start_jetstream().await.unwrap();
    let (run, checks) = examined(&format!("url = '{}'", server.url()), &[]);
    run.expect(0, "");
    has(&checks, "nats", "ok", "is version 2.");
    has(&checks, "nats tls", "ok", "on this machine");
    has(&checks, "nats credentials", "ok", "asks for none");
    has(&checks, "nats servers", "ok", "one is known");
    has(&checks, "jetstream", "ok", "may use it");
    has(&checks, "streams", "ok", "none of this tenant yet");
    has(&checks, "nats permissions", "ok", "sw.v1.default");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_what_a_nats_without_jetstream_costs() {
    let server = NatsServer::start().await.unwrap();
    let url = format!("url = '{}'", server.url());
    let (run, checks) = examined(&url, &[]);
    run.expect(0, "");
    has(&checks, "jetstream", "warn", "start nats-server with -js");
    has_no(&checks, "streams");
    let (run, checks) = examined(&format!("{url}\n[ledger]\nstore = 'jetstream'"), &[]);
    run.expect(1, "");
    has(&checks, "jetstream", "fail", "ledger.store = \"local\"");
    let (run, checks) = examined(&format!("{url}\n[ledger]\nstore = 'local'"), &[]);
    run.expect(0, "");
    has(&checks, "jetstream", "ok", "not used");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_tells_wrong_credentials_from_a_server_that_is_not_there() {
    let server = NatsServer::start_with(&["--user", "anna", "--pass", "s3cret"]).await.unwrap();
    let with = |password: &str| format!("url = '{}'\nuser = 'anna'\npassword = '{password}'", server.url());
    let (run, checks) = examined(&with("0ther"), &[]);
    assert!(!format!("{}{}", run.stdout, run.stderr).contains("0ther"), "{}{}", run.stdout, run.stderr);
    run.expect(1, "");
    has(&checks, "nats", "ok", "is version 2.");
    has(&checks, "nats credentials", "fail", "authorization violation");
    has(&checks, "nats credentials", "fail", "correct nats.user and nats.password");
    has_no(&checks, "jetstream");
    let (run, checks) = examined(&with("s3cret"), &[]);
    run.expect(0, "");
    has(&checks, "nats credentials", "ok", "takes nats.user and nats.password");

    let (run, checks) = examined("url = 'nats://127.0.0.1:1'", &[]);
    run.expect(1, "");
    has(&checks, "nats", "fail", "unreachable: 127.0.0.1:1");
    let (run, checks) = examined("url = 'nats://nowhere.invalid'", &[]);
    run.expect(1, "");
    has(&checks, "nats", "fail", "name not resolved: nowhere.invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_whose_certificate_is_wrong() {
    let (authority, other) = (Authority::new().unwrap(), Authority::new().unwrap());
    let own = authority.issue("server").unwrap();
    let files = format!("cert_file: \"{}\", key_file: \"{}\"", own.certificate.display(), own.key.display());
    let server = NatsServer::start_configured(&format!("tls {{ {files} }}")).await.unwrap();
    let trusting =
        |authority: &Authority| format!("url = '{}'\ntls_ca = '{}'", server.url(), authority.file().display());
    let (run, checks) = examined(&trusting(&other), &[]);
    run.expect(1, "");
    has(&checks, "nats tls", "fail", "certificate problem: ");
    has(&checks, "nats tls", "fail", "set nats.tls_ca");
    let (_, checks) = examined(&trusting(&authority), &[]);
    has(&checks, "nats tls", "ok", "TLS 1.3");

    // A server that wants the certificate of the node.
    let files = format!("{files}, ca_file: \"{}\", verify: true", authority.file().display());
    let server = NatsServer::start_configured(&format!("tls {{ {files} }}")).await.unwrap();
    let with = |own: &Certificate| {
        let [certificate, key] = [&own.certificate, &own.key].map(|path| path.display());
        let ca = authority.file();
        format!("url = '{}'\ntls_ca = '{}'\ntls_cert = '{certificate}'\ntls_key = '{key}'", server.url(), ca.display())
    };
    let trusting = format!("url = '{}'\ntls_ca = '{}'", server.url(), authority.file().display());
    for wrong in [trusting, with(&other.issue("node").unwrap())] {
        let (run, checks) = examined(&wrong, &[]);
        run.expect(1, "");
        has(&checks, "nats tls", "fail", "certificate problem of this node");
    }
    let (run, checks) = examined(&with(&authority.issue("node").unwrap()), &[]);
    run.expect(0, "");
    has(&checks, "nats tls", "ok", "TLS 1.3");

    let plain = NatsServer::start().await.unwrap();
    let (run, checks) = examined(&format!("url = '{}'\ntls_required = true", plain.url()), &[]);
    run.expect(1, "");
    has(&checks, "nats tls", "fail", "has no TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_the_permissions_that_are_missing() {
    let permissions = |publish: &str, subscribe: &str| {
        format!("permissions: {{ publish: {{ allow: [{publish}] }}, subscribe: {{ allow: [{subscribe}] }} }}")
    };
    let all = permissions("\"sw.v1.default.>\", \"$JS.API.STREAM.INFO.*\"", "\"sw.v1.default.>\"");
    let few = permissions("\"sw.v1.default.call.>\", \"$JS.API.STREAM.INFO.*\"", "\"sw.v1.default.js.>\"");
    let users = format!("{{ user: all, password: x, {all} }}, {{ user: few, password: x, {few} }}");
    let text = format!("jetstream {{ store_dir: \"FOLDER/store\" }}\nauthorization {{ users: [ {users} ] }}\n");
    let server = NatsServer::start_configured(&text).await.unwrap();
    let as_user = |user: &str| format!("url = '{}'\nuser = '{user}'\npassword = 'x'", server.url());
    let (run, checks) = examined(&as_user("all"), &[]);
    run.expect(0, "");
    has(&checks, "nats permissions", "ok", "");
    let (run, checks) = examined(&as_user("few"), &["--node-id", "a"]);
    run.expect(1, "");
    for missing in ["publish to sw.v1.default.evt.>", "subscribe to sw.v1.default.node.a.>", "decisions/0022"] {
        has(&checks, "nats permissions", "fail", missing);
    }
    has(&checks, "jetstream", "ok", "");
}

#[test]
fn doctor_looks_into_the_folder_of_the_variable() {
    let place = Place::new();
    let output = place
        .command(&["doctor", "--json", "--no-start", "--node", "http://127.0.0.1:1"])
        .env("SPANWIRE_DATA_DIR", place.path().join("elsewhere"))
        .output();
    let run = Run::from(output.unwrap());
    let checks = run.json()["checks"].as_array().unwrap().clone();
    has(&checks, "token file", "ok", "elsewhere/operator.token");
}
