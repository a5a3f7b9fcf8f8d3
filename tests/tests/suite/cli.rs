//! The binary `spanwire` as a user types it: exit codes, what is printed where, what is sent to a node.
//!
//! The node is a stand-in that answers the control API; see `broker`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broker;
mod doctor;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The binary beside the test executable: `target/debug/deps/suite-…` and `target/debug/spanwire`.
fn binary() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push(format!("spanwire{}", std::env::consts::EXE_SUFFIX));
    assert!(path.exists(), "{} is missing: cargo build --workspace", path.display());
    path
}

struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Run {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    fn expect(self, code: i32, part: &str) -> Self {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert_eq!(self.code, code, "{all}");
        assert!(all.contains(part), "expected {part:?} in: {all}");
        self
    }
}

/// A folder of its own, which is also the user's home.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.path().join(name), text).unwrap();
        self
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(args).current_dir(self.path()).stdin(Stdio::null());
        command.env_clear().env("HOME", self.path()).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        self.command(args).output().unwrap().into()
    }
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let place = Place::new();
    let help = place.run(&["--help"]).expect(0, "Exit codes:");
    for command in [
        "up", "demo", "import", "add", "remove", "servers", "tools", "call", "ctx", "status", "doctor", "validate",
        "stdio", "trace", "backup", "restore", "agents",
    ] {
        assert!(help.stdout.contains(&format!("\n  {command} ")), "{command}");
        place.run(&[command, "--help"]).expect(0, "Usage: spanwire");
    }
    assert!(!help.stdout.contains("guard") && !help.stdout.contains("demo-server"));
    place.run(&["--version"]).expect(0, "spanwire ");
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let place = Place::new();
    place.run(&["serves"]).expect(2, "servers");
    place.run(&[]).expect(2, "Usage");
    place.run(&["add", "a"]).expect(2, "needs \"command\" or \"url\"");
    place.run(&["add", "A", "--", "x"]).expect(2, "invalid server id");
    place.run(&["add", "a", "--replicas", "2", "--", "x"]).expect(2, "need the placement \"any\"");
    place.run(&["add", "a", "--placement", "any", "--replicas", "65", "--", "x"]).expect(2, "1 to 64");
    place.run(&["add", "a", "--placement", "any", "--on", "b", "--", "x"]).expect(2, "keep one");
    place.run(&["call", "a__b", "--json", "[]"]).expect(2, "takes a JSON object");
    place.run(&["servers", "--node", "https://h"]).expect(2, "must begin with http://");
    place.run(&["validate"]).expect(2, "no configuration file");
}

#[test]
fn no_node_is_exit_code_3() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let node = format!("http://{free}");
    Place::new().run(&["status", "--node", &node]).expect(3, "no node answers at").expect(3, "spanwire up");
}

#[test]
fn validate_says_where_and_what() {
    let place = Place::new();
    place.file("good.toml", "[servers.git]\ncommand = 'uvx'\n").file("bad.toml", "[limits]\npage_sise = 1\n");
    place.run(&["validate", "good.toml"]).expect(0, "ok good.toml: 1 server, 0 views");
    place
        .run(&["validate", "bad.toml"])
        .expect(1, "bad.toml:2:1: unknown key \"page_sise\"; did you mean \"page_size\"?");
    place.run(&["validate", "none.toml"]).expect(1, "none.toml: ");
    let report = place.run(&["validate", "bad.toml", "--json"]).expect(1, "");
    assert_eq!(report.json()["valid"], false);
    let schema = place.run(&["validate", "--schema"]).expect(0, "").json();
    assert_eq!(schema["title"], "Spanwire configuration");
    // The file that is read when none is named.
    place.file("spanwire.toml", "[servers.a]\ncommand = '${NOT_SET}'\n");
    place.run(&["validate"]).expect(1, "servers.a.command: variable NOT_SET is not set");
    let with = place.command(&["validate"]).env("NOT_SET", "x").output().unwrap();
    Run::from(with).expect(0, "ok spanwire.toml");
}

#[test]
fn secrets_of_a_configuration_are_never_printed() {
    let place = Place::new();
    let text = "[[principals]]\nname = 'a'\ntoken = 's3cret'\n[[principals]]\nname = 'b'\ntoken = 's3cret'\n";
    place.file("spanwire.toml", text);
    let run = place.run(&["validate"]).expect(1, "has the token of another principal");
    assert!(!run.stderr.contains("s3cret"));
}

#[test]
fn import_writes_a_configuration_once_and_leaves_the_source_alone() {
    let place = Place::new();
    let source = r#"{"mcpServers": {"My Git": {"command": "uvx", "args": ["mcp-git"], "env": {"TOKEN": "s3cret"}}}}"#;
    place.file("claude.json", source);
    let dry = place.run(&["import", "claude.json", "--dry-run"]).expect(0, "my-git\twould be added\tuvx mcp-git");
    assert!(!dry.stdout.contains("s3cret"));
    assert!(!place.path().join("spanwire.toml").exists());
    place.run(&["import", "claude.json", "--into", "spanwire.toml"]).expect(0, "written");
    place.run(&["validate"]).expect(0, "1 server");
    place.run(&["import", "claude.json", "--into", "spanwire.toml"]).expect(1, "already has [servers.my-git]");
    assert_eq!(std::fs::read_to_string(place.path().join("claude.json")).unwrap(), source);
    let report = place.run(&["import", "claude.json", "--dry-run", "--json"]).expect(0, "").json();
    assert_eq!((&report["servers"][0]["id"], &report["servers"][0]["name"]), (&"my-git".into(), &"My Git".into()));
    place.file("other.json", "{}").run(&["import", "other.json"]).expect(1, "no MCP servers found");
    place.run(&["import", "none.json"]).expect(1, "none.json");
}

#[test]
fn a_closed_pipe_is_no_error() {
    let place = Place::new();
    let mut child =
        place.command(&["validate", "--schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    Run::from(child.wait_with_output().unwrap()).expect(0, "");
}

#[test]
fn the_demo_servers_speak_mcp_on_stdio() {
    let place = Place::new();
    place.file("in", "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server/discover\"}\n");
    let input = std::fs::File::open(place.path().join("in")).unwrap();
    let run: Run = place.command(&["demo-server", "notes"]).stdin(input).output().unwrap().into();
    assert_eq!(run.json()["result"]["supportedVersions"][0], "2026-07-28");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_types_its_arguments_and_prints_the_text() {
    let node = broker::start().await;
    let run =
        node.run(&["call", "git__log", "limit=3", "since=2"]).await.expect(0, "echo {\"limit\":3,\"since\":\"2\"}");
    assert!(run.stderr.contains("progress 1/2 half"), "{}", run.stderr);
    let raw = node.run(&["--json", "call", "git__log", "--json", "{\"limit\":1}", "limit=2"]).await.expect(0, "");
    assert_eq!(raw.json()["content"][0]["text"], "echo {\"limit\":2}");
    node.run(&["call", "git__log", "limit=x"]).await.expect(2, "limit: \"x\" is no integer");
    node.run(&["call", "git__fail"]).await.expect(1, "says that it failed");
    node.run(&["call", "git__slow"]).await.expect(5, "out of time");
    node.run(&["call", "git__denied"]).await.expect(1, "not for you");
    node.run(&["call", "git__lgo"]).await.expect(4, "did you mean \"git__log\"?");
    node.run(&["call", "log"]).await.expect(4, "did you mean \"git__log\"?");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_tables_for_people_and_json_for_programs() {
    let node = broker::start().await;
    let servers = node.run(&["servers"]).await;
    for part in [
        "git\tready\tnode-a\tconfig\there\tstdio\tlegacy 2025-11-25\t4\t",
        "docs\tdown\tnode-c\tregistry\there\t-\t",
        "fs\tdown\t-\tregistry\tany 0/2\t",
        "\nfs: 0 of 2 replicas\n",
        "\ngit: the configuration of node-a goes before the registry there\n",
    ] {
        servers.expect_part(part);
    }
    assert_eq!(node.run(&["servers", "--json"]).await.json()["wanted"][2]["shadowed_on"][0], "node-a");
    assert_eq!(node.run(&["servers", "--json"]).await.json()["servers"][0]["state"], "ready");
    node.run(&["tools"]).await.expect(0, "git__log\tnode-a\tShows the log");
    assert_eq!(node.run(&["tools", "--json"]).await.json()["tools"][0]["inputSchema"]["type"], "object");
    node.run(&["status"]).await.expect(0, "node-a").expect(0, "http h:1, era modern");
    let status = node.run(&["status", "--output", "json"]).await.json();
    assert_eq!(
        (status["servers"]["ready"].as_i64(), status["eras"].to_string()),
        (Some(1), r#"{"http":"modern"}"#.into())
    );
    node.run(&["trace", "ls"]).await.expect(0, "0af7651916cd\ttools/call git__log");
    node.run(&["trace", "show", "0AF7"]).await.expect(0, "└─ forward");
    assert_eq!(node.run(&["trace", "show", "0af7", "--json"]).await.json()["spans"][0]["kind"], "server");
    node.run(&["trace", "show", "ffff"]).await.expect(4, "no trace ffff");
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_added_and_removed() {
    let node = broker::start().await;
    let args = ["add", "fs", "--env", "K=${V}", "--era", "legacy", "--", "npx", "-y", "fs"];
    node.run(&args).await.expect(0, "added fs");
    node.run(&args).await.expect(1, "already");
    node.run(&["add", "api", "--url", "http://h/mcp", "--header", "Authorization: Bearer x"])
        .await
        .expect(0, "added api");
    assert_eq!(
        node.added(),
        ["fs npx [\"-y\", \"fs\"] {\"K\": \"${V}\"} era 2", "api http://h/mcp {\"Authorization\": \"Bearer x\"}"]
    );
    let any = ["add", "any", "--placement", "any", "--replicas", "3", "--", "x"];
    node.run(&any).await.expect(0, "added any");
    assert_eq!(node.added().last().unwrap(), "any x [] {} era 0 any 3");
    node.run(&["remove", "fs"]).await.expect(0, "removed fs");
    node.run(&["remove", "gti"]).await.expect(4, "did you mean \"git\"?");
    node.place.file("m.json", r#"{"mcpServers": {"fs": {"command": "x"}, "api": {"url": "http://h"}}}"#);
    node.run(&["import", "m.json"]).await.expect(1, "fs\tadded").expect_part("api\tfailed\t");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_comes_from_the_flag_or_the_data_folder() {
    let node = broker::start_with_token("t0ken").await;
    node.run(&["status"]).await.expect(1, "no token").expect_part("--token");
    node.run(&["status", "--token", "t0ken"]).await.expect(0, "node-a");
    let data = node.place.path().join(".local/share/spanwire");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(data.join("operator.token"), "t0ken\n").unwrap();
    node.run(&["status"]).await.expect(0, "node-a");
}

#[tokio::test]
async fn a_backup_that_does_not_arrive_whole_leaves_no_file() {
    let node = broker::start().await;
    let place = Place::new();
    let file = place.path().join("b");
    node.run(&["backup", file.to_str().unwrap()]).await.expect(1, "the backup did not arrive whole");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
    place.run(&["restore", "none", "--data", "d"]).expect(1, "cannot restore none");
}

#[tokio::test]
async fn agents_are_registered_by_their_cards() {
    let node = broker::start().await;
    let card = r#"{"name":"Ada","skills":[{"id":"plan","name":"Plan"},{"id":"cook","name":"Cook"}],
 "supportedInterfaces":[{"url":"https://ada.example/a2a"}],"x":12345678901234567890123,"y":1.0}"#;
    node.place.file("ada.json", card).file("bob.json", r#"{"name":"Bob"}"#).file("broken.json", "{");
    node.run(&["agents"]).await.expect(0, "no agents: register one with \"spanwire agents add ID --card FILE\"");
    node.run(&["agents", "add", "ada", "--card", "ada.json"]).await.expect(0, "added ada: see \"spanwire agents\"");
    let taken = node.run(&["agents", "add", "ada", "--card", "bob.json"]).await.expect(1, "exists already");
    assert_eq!(taken.stdout, "");
    node.run(&["agents", "add", "ada", "--card", "ada.json", "--replace"]).await.expect(0, "replaced ada");
    let added = node.run(&["agents", "add", "bob", "--card", "bob.json", "--json"]).await.expect(0, "");
    assert_eq!(added.json(), serde_json::json!({ "added": "bob", "replaced": false }));

    let table = node.run(&["agents"]).await.expect(0, "agent\tname\tskills\turl\tby\tregistered\n");
    assert!(
        table.stdout.contains("ada\tAda\tplan cook\thttps://ada.example/a2a\toperator on node-a\t"),
        "{}",
        table.stdout
    );
    assert!(table.stdout.contains("bob\tBob\t-\t-\t"), "{}", table.stdout);
    let listed = node.run(&["agents", "--json"]).await.expect(0, "").json();
    assert_eq!(listed["agents"][0]["skills"][1], serde_json::json!({ "id": "cook", "name": "Cook" }));
    let shown = node.run(&["agents", "show", "ada"]).await.expect(0, "version 7 by operator on node-a");
    assert_eq!(shown.stdout, format!("{card}\n"), "the card and nothing else");
    let shown = node.run(&["agents", "show", "ada", "--json"]).await.expect(0, "");
    assert!(shown.stdout.contains("12345678901234567890123") && shown.stdout.contains("1.0"), "{}", shown.stdout);

    node.run(&["agents", "add", "x", "--card", "broken.json"]).await.expect(1, "broken.json is not JSON: ");
    node.run(&["agents", "add", "x", "--card", "none.json"]).await.expect(1, "none.json: ");
    node.run(&["agents", "add", "x"]).await.expect(2, "--card");
    node.run(&["agents", "add", "No Id", "--card", "ada.json"]).await.expect(2, "use 1 to 64 of a-z");
    node.run(&["agents", "show", "adda"]).await.expect(4, "the registry has no agent \"adda\"; did you mean \"ada\"?");
    node.run(&["agents", "remove", "ada"]).await.expect(0, "removed ada");
    node.run(&["agents", "remove", "ada"]).await.expect(4, "the registry has no agent \"ada\"");
}
