//! One line for each change of a server, and a spinner while some are starting.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use indicatif::ProgressBar;
use serde_json::json;
use spanwire_model::{Inventory, NodeId, ServerEntry, ServerId, ServerState};

use crate::output::{Out, Tone, count, first_line, paint};

const MAX_DETAIL: usize = 160;
const TICK: std::time::Duration = std::time::Duration::from_millis(120);
/// Names in the spinner.
const MAX_NAMES: usize = 5;

/// Prints what changed between two inventories.
pub(crate) struct Follower {
    known: BTreeMap<(ServerId, NodeId), Seen>,
    nodes: BTreeSet<NodeId>,
    bar: ProgressBar,
}

/// What of a server is worth a line when it changes.
#[derive(PartialEq, Eq)]
struct Seen {
    state: ServerState,
    detail: Option<Arc<str>>,
    tools: usize,
}

impl Follower {
    /// `spinner`: people are watching.
    pub(crate) fn new(spinner: bool) -> Self {
        let bar = if spinner { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        Self { known: BTreeMap::new(), nodes: BTreeSet::new(), bar }
    }

    /// Prints the changes since the last time.
    pub(crate) fn show(&mut self, inventory: &Inventory, out: &mut Out) -> io::Result<()> {
        let mut known = BTreeMap::new();
        let mut printed = Ok(());
        let bar = self.bar.clone();
        let mut print = |text: &dyn Fn(&mut Out) -> io::Result<()>| {
            if printed.is_ok() {
                printed = bar.suspend(|| text(out));
            }
        };
        for server in &inventory.servers {
            let key = (server.id.clone(), server.node.clone());
            let seen = Seen {
                state: server.health.state,
                detail: server.health.detail.clone(),
                tools: server.listing.tools.len(),
            };
            if self.known.get(&key) != Some(&seen) {
                print(&|out| line(server, out));
            }
            known.insert(key, seen);
        }
        for (id, node) in self.known.keys().filter(|key| !known.contains_key(*key)) {
            print(&|out| gone(id, node, out));
        }
        let nodes: BTreeSet<NodeId> = inventory.nodes.iter().map(|node| node.id.clone()).collect();
        // The first inventory is the node itself: nobody joined.
        if !self.nodes.is_empty() {
            for node in nodes.difference(&self.nodes) {
                print(&|out| node_line(node, "joined", out));
            }
            for node in self.nodes.difference(&nodes) {
                print(&|out| node_line(node, "left", out));
            }
        }
        (self.known, self.nodes) = (known, nodes);
        self.spin(inventory);
        printed
    }

    fn spin(&self, inventory: &Inventory) {
        let local: Vec<&Arc<ServerEntry>> = inventory.servers.iter().filter(|server| server.local).collect();
        let starting: Vec<&str> = local
            .iter()
            .filter(|server| server.health.state == ServerState::Starting)
            .map(|server| server.id.as_str())
            .collect();
        if starting.is_empty() {
            self.bar.disable_steady_tick();
            self.bar.set_message("");
            self.bar.finish_and_clear();
            return;
        }
        let more = if starting.len() > MAX_NAMES { ", …" } else { "" };
        let names = starting[..starting.len().min(MAX_NAMES)].join(", ");
        let done = local.len() - starting.len();
        if self.bar.is_finished() {
            self.bar.reset();
        }
        self.bar.enable_steady_tick(TICK);
        self.bar.set_message(format!("{done} of {} started; waiting for {names}{more}", local.len()));
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn tone(state: ServerState) -> Tone {
    match state {
        ServerState::Starting | ServerState::Degraded => Tone::Warn,
        ServerState::Ready => Tone::Good,
        ServerState::Down => Tone::Bad,
        ServerState::Stopped => Tone::Dim,
    }
}

fn line(server: &ServerEntry, out: &mut Out) -> io::Result<()> {
    let (listing, health) = (&server.listing, &server.health);
    if out.json {
        return out.json_line(&json!({
            "event": "server",
            "id": server.id,
            "node": server.node,
            "state": health.state.as_str(),
            "detail": health.detail,
            "tools": listing.tools.len(),
            "prompts": listing.prompts.len(),
            "resources": listing.resources.len() + listing.templates.len(),
        }));
    }
    let word = paint(&format!("{:<9}", health.state.as_str()), tone(health.state));
    let place = if server.local { String::new() } else { format!(" on {}", server.node) };
    let mut facts = Vec::new();
    if health.state.is_callable() {
        facts.push(count(listing.tools.len(), "tool"));
        facts.push(count(listing.prompts.len(), "prompt"));
        facts.push(count(listing.resources.len() + listing.templates.len(), "resource"));
        facts.extend(server.facts.as_ref().map(|facts| format!("MCP {}", facts.revision)));
    }
    facts.extend(health.detail.as_ref().map(|detail| first_line(detail, MAX_DETAIL)));
    let facts = if facts.is_empty() { String::new() } else { format!("  {}", facts.join(", ")) };
    out.line(format!("{word} {}{place}{facts}", server.id))
}

fn gone(id: &ServerId, node: &NodeId, out: &mut Out) -> io::Result<()> {
    if out.json {
        return out.json_line(&json!({ "event": "server", "id": id, "node": node, "state": "gone" }));
    }
    out.line(format!("{} {id} on {node}", paint("gone     ", Tone::Dim)))
}

fn node_line(node: &NodeId, what: &str, out: &mut Out) -> io::Result<()> {
    if out.json {
        return out.json_line(&json!({ "event": "node", "node": node, "what": what }));
    }
    out.line(format!("{} node {node}", paint(&format!("{what:<9}"), Tone::Dim)))
}
