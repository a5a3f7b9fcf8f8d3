//! What a space may hold, and what is said when it is full.

use std::process::Stdio;

use serde_json::{Value, json};
use spanwire_rpc::v1::{ContextChange, ContextDescribeSpaceRequest, ContextLogResponse, context_operation::Change};
use spanwire_tests::node::{START_TIMEOUT, program};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::timeout,
};
use tonic::Code;

use super::{
    hand::{at_least, change, put, refused},
    world::World,
};

pub(super) const FRAGMENT: &str = "[context]\nmax_value_bytes = 64\nmax_keys = 3\nmax_bytes = 200\nlog_events = 4\n";

pub(super) async fn check(world: &mut World) {
    let (mut a, mut b) = world.hands("full").await;
    let long = json!("x".repeat(70));
    let told = refused(a.write(Vec::new(), vec![put("k1", &long)]).await, Code::ResourceExhausted, "quota_exceeded");
    assert_eq!(told["limit"], json!(64), "{told}");
    let append = a.write(Vec::new(), vec![change("list", Change::AppendJson(json!([long]).to_string().into()))]).await;
    refused(append, Code::ResourceExhausted, "quota_exceeded");

    for key in ["k1", "k2", "k3"] {
        a.put(key, &json!(key)).await;
    }
    let fourth = a.write(Vec::new(), vec![put("k4", &json!(1))]).await;
    let told = refused(fourth, Code::ResourceExhausted, "quota_exceeded");
    assert_eq!((&told["quota"], &told["limit"]), (&json!("keys"), &json!(3)), "{told}");
    // What is there may change, and one may take the place of another.
    a.put("k1", &json!("new")).await;
    let swapped = a.write(Vec::new(), vec![change("k3", Change::Delete(true)), put("k4", &json!(1))]).await.unwrap();
    assert!(b.get("k3", swapped.sequence).await.is_none() && b.get("k4", swapped.sequence).await.is_some());

    let wide = json!("y".repeat(60));
    let all = ["k1", "k2", "k4"].map(|key| put(key, &wide)).to_vec();
    a.write(Vec::new(), all.clone()).await.unwrap();
    let (mut other, _) = world.hands("full-too").await;
    let mut more = vec![put(&"long-name-".repeat(3), &wide)];
    more.extend(all.into_iter().take(2));
    refused(other.write(Vec::new(), more).await, Code::ResourceExhausted, "quota_exceeded");

    // The log keeps the last four changes, and says so to whoever asks for more.
    let last = a.put("k1", &json!("end")).await;
    let log = b.log(0, at_least(last)).await.unwrap();
    assert_eq!(log.events.len(), 4, "{log:?}");
    assert!(log.events.iter().all(|event| event.change() == ContextChange::Put) && log.first > 1);
    let gone = refused(b.log(1, at_least(last)).await, Code::FailedPrecondition, "conflict");
    assert_eq!(gone["first"], json!(log.first), "{gone}");
    let mut watch = b.watch("", 1).await;
    refused(watch.message().await, Code::FailedPrecondition, "conflict");
    for from in ["0", "1"] {
        the_command_begins_with_what_is_kept(world, from, &log).await;
    }
    let ended = world.last().command(&["ctx", "watch", "full", "--from", "2"]).await.unwrap();
    let error = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.code() == Some(1) && error.contains(&format!("kept from {} on", log.first)), "{error}");
    let request = ContextDescribeSpaceRequest { space: "full".into(), read: at_least(last) };
    let told = b.client.describe_space(request).await.unwrap().into_inner();
    let (space, quotas) = (told.space.unwrap(), told.quotas.unwrap());
    assert_eq!((space.keys, space.events, quotas.keys, quotas.log_events), (3, 4, 3, 4));
}

/// Whoever wants all that happened gets what there is of it, and is told that there was more.
async fn the_command_begins_with_what_is_kept(world: &World, from: &str, log: &ContextLogResponse) {
    let mut watch = Command::new(program().unwrap())
        .args(["ctx", "watch", "full", "--from", from, "--json"])
        .envs(world.last().client_environment().unwrap())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut told = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut notes = BufReader::new(watch.stderr.take().unwrap()).lines();
    let note = timeout(START_TIMEOUT, notes.next_line()).await.expect("a note").unwrap().unwrap();
    assert!(note.contains(&format!("before sequence {} is no longer kept", log.first)), "{note}");
    for event in &log.events {
        let line = timeout(START_TIMEOUT, told.next_line()).await.expect("an event").unwrap().unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&line["sequence"], &line["key"]), (&json!(event.sequence), &json!(event.key)), "{line}");
    }
    watch.kill().await.unwrap();
}
