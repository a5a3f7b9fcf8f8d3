//! `era` forced per server: a server of both eras is spoken to as configured, one of a single era only in its own.

use std::path::Path;

use serde_json::{Value, json};
use spanwire_mcp::{Revision, string_literal};
use spanwire_rpc::v1::ServerState;
use spanwire_tests::{
    node::{Caller, Node},
    scripted::{Options, Server, Tape, Way, serve_http},
};
use tokio::{net::TcpListener, task::JoinSet};

const MODERN: &str = "2026-07-28";
const LEGACY: &str = "2025-11-25";

/// A server in a configuration file: its id says what it speaks, over what, and which era is configured.
struct Case {
    id: String,
    speaks: &'static [&'static str],
    http: bool,
    era: &'static str,
    /// The revision that must be agreed on; `None` when there is none.
    agreed: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for http in [true, false] {
        for (name, speaks, era, agreed) in [
            ("both-auto", &[MODERN, LEGACY][..], "auto", Some(MODERN)),
            ("both-modern", &[MODERN, LEGACY], "modern", Some(MODERN)),
            ("both-legacy", &[MODERN, LEGACY], "legacy", Some(LEGACY)),
            ("old-auto", &[LEGACY], "auto", Some(LEGACY)),
            ("old-modern", &[LEGACY], "modern", None),
            ("old-legacy", &[LEGACY], "legacy", Some(LEGACY)),
            ("new-auto", &[MODERN], "auto", Some(MODERN)),
            ("new-modern", &[MODERN], "modern", Some(MODERN)),
            ("new-legacy", &[MODERN], "legacy", None),
        ] {
            let id = format!("{name}-{}", if http { "http" } else { "stdio" });
            cases.push(Case { id, speaks, http, era, agreed });
        }
    }
    cases
}

fn tape(folder: &Path, id: &str) -> std::path::PathBuf {
    folder.join(format!("{id}.tape"))
}

async fn table(case: &Case, folder: &Path, serving: &mut JoinSet<()>) -> String {
    let tape = tape(folder, &case.id);
    let (id, era) = (&case.id, case.era);
    if !case.http {
        let mut args = vec!["--scripted".to_owned(), tape.to_string_lossy().into_owned()];
        args.extend(case.speaks.iter().map(ToString::to_string));
        let args: Vec<String> = args.iter().map(|arg| string_literal(arg)).collect();
        let program = string_literal(env!("CARGO_BIN_EXE_spanwire-fault-server"));
        return format!("[servers.{id}]\nera = \"{era}\"\ncommand = {program}\nargs = [{}]\n", args.join(", "));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let revision = |at: usize| case.speaks.get(at).map(|name| name.parse::<Revision>().unwrap());
    let server = Server::new(Options { revision: revision(0).unwrap(), also: revision(1), tape }).unwrap();
    serving.spawn(async move { serve_http(server, listener).await.unwrap() });
    format!("[servers.{id}]\nera = \"{era}\"\nurl = \"{url}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configured_era_is_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let (mut serving, mut tables) = (JoinSet::new(), String::new());
    let cases = cases();
    for case in &cases {
        tables.push_str(&table(case, folder.path(), &mut serving).await);
    }
    let node = Node::start(&tables).await.unwrap();
    let (up, down): (Vec<&Case>, Vec<&Case>) = cases.iter().partition(|case| case.agreed.is_some());
    let ids = |cases: &[&Case]| cases.iter().map(|case| case.id.clone()).collect::<Vec<_>>();
    for (cases, state) in [(&up, ServerState::Ready), (&down, ServerState::Down)] {
        let ids = ids(cases);
        node.wait_servers(&ids.iter().map(String::as_str).collect::<Vec<_>>(), state).await.unwrap();
    }
    let shown = node.command_json(&["--json", "servers"]).await.unwrap();
    let caller = Caller::new(node.mcp_url(""));
    for case in up {
        let answer = caller.call(&format!("{}__echo", case.id), json!({ "tag": case.id })).await.unwrap();
        assert_eq!(answer["result"]["x-unknown"]["kept"], case.id.as_str(), "{answer}");
        let server = shown["servers"].as_array().unwrap().iter().find(|server| server["id"] == case.id.as_str());
        let server = server.unwrap_or_else(|| panic!("{} is not in {shown}", case.id)).to_string();
        assert!(server.contains(case.agreed.unwrap()), "{}: {server}", case.id);
        let mut tape = Tape::whole(&tape(folder.path(), &case.id));
        let heard: Vec<Value> = tape
            .lines()
            .unwrap()
            .iter()
            .filter(|noted| noted.way == Way::In)
            .map(|noted| noted.message.clone())
            .collect();
        let opened = |method: &str| heard.iter().any(|message| message["method"] == method);
        let probes = case.era != "legacy";
        assert_eq!(opened("server/discover"), probes, "{}: the probe", case.id);
        assert_eq!(opened("initialize"), case.agreed == Some(LEGACY), "{}: the handshake", case.id);
        let call = heard.iter().rfind(|message| message["method"] == "tools/call").unwrap();
        let versioned = call["params"]["_meta"].get(spanwire_mcp::meta::PROTOCOL_VERSION).is_some();
        assert_eq!(versioned, case.agreed == Some(MODERN), "{}: {call}", case.id);
    }
}
