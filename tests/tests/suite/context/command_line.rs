//! `spanwire ctx` as a user types it.

use std::process::Output;

use serde_json::{Value, json};
use spanwire_tests::node::Node;

use super::world::World;

pub(super) async fn check(world: &mut World) {
    values_go_in_and_come_out(world).await;
    a_conflict_says_what_is_there(world).await;
    everything_has_a_command(world).await;
    status_shows_the_ledger(world).await;
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn run(node: &Node, args: &[&str]) -> Output {
    node.command(&[&["ctx"], args].concat()).await.unwrap()
}

async fn good(node: &Node, args: &[&str]) -> String {
    let output = run(node, args).await;
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

async fn json_of(node: &Node, args: &[&str]) -> Value {
    node.command_json(&[&["ctx"], args, &["--json"]].concat()).await.unwrap()
}

/// Exit code, and what went to stderr.
async fn bad(node: &Node, args: &[&str]) -> (i32, String) {
    let output = run(node, args).await;
    (output.status.code().unwrap(), text(&output.stderr))
}

async fn values_go_in_and_come_out(world: &World) {
    let (a, b) = (world.first(), world.last());
    let written = json_of(a, &["put", "cli", "goal", r#"{"text": "ship"}"#, "--ttl", "10m"]).await;
    let sequence = written["sequence"].to_string();
    assert_eq!(written["written"][0]["version"], written["sequence"], "{written}");
    let got = json_of(b, &["get", "cli", "goal", "--at-least", &sequence]).await;
    assert_eq!((&got["value"], &got["version"]), (&json!({ "text": "ship" }), &written["sequence"]), "{got}");
    assert_eq!(got["author"]["principal"], "operator", "{got}");
    assert!(got["expires_unix_ms"].as_u64().unwrap() > got["written_unix_ms"].as_u64().unwrap());
    // The value alone goes to stdout, so that it can be piped on.
    let output = run(b, &["get", "cli", "goal", "--linearizable"]).await;
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap(), json!({ "text": "ship" }));
    let note = text(&output.stderr);
    assert!(note.contains(&format!("version {sequence} by operator on a")) && note.contains("trace "), "{note}");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "[1, 2]\n").unwrap();
    good(a, &["put", "cli", "list", &format!("@{}", file.path().display())]).await;
    let appended = good(a, &["append", "cli", "list", "3", r#""x""#]).await;
    assert!(appended.contains("with 4 elements"), "{appended}");
    good(a, &["patch", "cli", "goal", r#"{"done": false}"#]).await;
    let patched = json_of(a, &["patch", "cli", "goal", r#"[{"op": "remove", "path": "/text"}]"#]).await;
    let got = json_of(b, &["get", "cli", "goal", "--at-least", &patched["sequence"].to_string()]).await;
    assert_eq!(got["value"], json!({ "done": false }));

    let (code, error) = bad(a, &["put", "cli", "goal", "hello"]).await;
    assert!(code == 2 && error.contains("\"hello\" is not JSON") && error.contains("'\"hello\"'"), "{error}");
    let (code, error) = bad(b, &["get", "cli", "nothing"]).await;
    assert!(code == 4 && error.contains("there is no key \"nothing\" in space \"cli\""), "{error}");
    let appended = good(a, &["append", "cli", "one", "1"]).await;
    assert!(appended.contains("with 1 element\n"), "{appended}");

    // What is too large for the log is shown by its size, and what is too large for a write by what a write may have.
    std::fs::write(file.path(), format!("\"{}\"", "x".repeat(20_000))).unwrap();
    let path = format!("@{}", file.path().display());
    let sequence = json_of(a, &["put", "cli", "large", &path]).await["sequence"].to_string();
    let log = good(b, &["log", "cli", "--key", "large", "--at-least", &sequence]).await;
    assert!(log.contains("put    large (20002 bytes) by operator on a"), "{log}");
    std::fs::write(file.path(), format!("\"{}\"", "x".repeat(1_000_000))).unwrap();
    let (code, error) = bad(a, &["put", "cli", "large", &path]).await;
    assert!(code == 1 && error.contains("with all of its keys and values it may have 921600 bytes"), "{error}");
    // A space that is misspelt is no error, but it is said that nothing is there.
    for (what, read) in [("keys", "list"), ("changes", "log")] {
        let output = run(b, &[read, "clii"]).await;
        let note = text(&output.stderr);
        assert!(output.status.success() && note.contains(&format!("no {what} in space \"clii\"")), "{note}");
    }
    assert_eq!(bad(b, &["spaces", "--at-least", "1"]).await.0, 2);
    assert!(good(b, &["txn", "--help"]).await.contains("\"patch_merge\": {\"key\": \"goal\""));
}

async fn a_conflict_says_what_is_there(world: &World) {
    let (a, b) = (world.first(), world.last());
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let written = json_of(a, &["put", "cli", "owner", r#""me""#, "--if-absent", "--traceparent", &parent]).await;
    let (code, error) = bad(b, &["put", "cli", "owner", r#""you""#, "--if-absent"]).await;
    assert_eq!(code, 1, "{error}");
    let there = format!("\"owner\" is there in version {}, written by operator on a, ", written["sequence"]);
    for part in [there.as_str(), &format!("spanwire trace show {trace}")] {
        assert!(error.contains(part), "no {part:?} in {error}");
    }
    let version = written["sequence"].to_string();
    good(b, &["put", "cli", "owner", r#""you""#, "--if-version", &version]).await;
    let (code, _) = bad(a, &["delete", "cli", "owner", "--if-version", &version]).await;
    assert_eq!(code, 1);
}

async fn everything_has_a_command(world: &World) {
    let (a, b) = (world.first(), world.last());
    let file = tempfile::NamedTempFile::new().unwrap();
    let transaction = json!({
        "if": [{ "key": "k1", "is": "absent" }],
        "do": [
            { "put": { "key": "k1", "value": { "n": 1 } } },
            { "append": { "key": "log", "values": [1, 2] } },
            { "patch_merge": { "key": "doc", "patch": { "a": 1 } } },
            { "delete": { "key": "none" } },
        ],
    });
    std::fs::write(file.path(), transaction.to_string()).unwrap();
    let path = file.path().display().to_string();
    let id = "0b2c6ab4-29b9-4a07-b3a5-2b4b6a9a2e57";
    let written = json_of(a, &["txn", "all", &path, "--operation", id]).await;
    assert_eq!(written["written"].as_array().unwrap().len(), 4, "{written}");
    let again = json_of(b, &["txn", "all", &path, "--operation", id]).await;
    assert_eq!(again, written);
    assert_eq!(bad(a, &["txn", "all", &path]).await.0, 1);
    std::fs::write(file.path(), r#"{"do": [{"putt": {}}]}"#).unwrap();
    assert!(bad(a, &["txn", "all", &path]).await.1.contains("not a transaction"));

    let sequence = written["sequence"].to_string();
    let listed = json_of(b, &["list", "all", "--values", "--at-least", &sequence]).await;
    let keys: Vec<&str> = listed["entries"].as_array().unwrap().iter().map(|e| e["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["doc", "k1", "log"]);
    let table = good(b, &["list", "all", "k", "--values"]).await;
    assert!(table.starts_with("key\tversion\t") && table.contains("operator on a"), "{table}");
    let log = json_of(b, &["log", "all", "--at-least", &sequence]).await;
    assert_eq!(log["events"].as_array().unwrap().len(), 3, "{log}");
    let lines = good(b, &["log", "all", "k"]).await;
    assert!(lines.lines().count() == 1 && lines.contains("put"), "{lines}");
    let snapshot = json_of(b, &["snapshot", "all", "--at-least", &sequence]).await;
    assert_eq!(snapshot["entries"].as_array().unwrap().len(), 3, "{snapshot}");
    let spaces = json_of(b, &["spaces", "a", "--linearizable"]).await;
    assert_eq!(spaces["spaces"][0]["name"], "all", "{spaces}");
    let told = json_of(b, &["describe", "all"]).await;
    assert_eq!((&told["keys"], &told["quotas"]["keys"]), (&json!(3), &json!(10_000)), "{told}");
    assert!(good(b, &["describe", "all"]).await.contains("3 of 10000"));
    assert_eq!(bad(b, &["describe", "nowhere"]).await.0, 4);
    assert!(good(a, &["delete", "all", "k1"]).await.contains("all/k1 is deleted"));
    assert_eq!(bad(a, &["drop", "all"]).await.0, 2);
    assert!(good(a, &["drop", "all", "--yes"]).await.contains("space all is gone, with 2 keys"));
}

async fn status_shows_the_ledger(world: &World) {
    for node in &world.nodes {
        let status = node.command_json(&["status", "--json"]).await.unwrap();
        let alone = world.nodes.len() == 1;
        assert_eq!(status["ledger"], if alone { "local" } else { "jetstream" }, "{status}");
        let shards = status["shards"].as_array().unwrap();
        assert_eq!(shards.len(), 5, "{status}");
        for shard in shards {
            assert_eq!((&shard["state"], &shard["replicas"]), (&json!("following"), &json!(1)), "{shard}");
        }
        let text = text(&node.command(&["status"]).await.unwrap().stdout);
        for part in ["ledger", "context.0", "registry.0", "following"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        assert_eq!(node.metric("spanwire_ledger_state", &["state=\"following\""]).await.unwrap(), 5.0);
        assert!(node.metric("spanwire_ledger_applied_entries", &["shard=\"context"]).await.unwrap() > 0.0);
    }
}
