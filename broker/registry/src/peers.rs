//! The other nodes: each says once a second that it is alive, how busy its servers are, and which version of them it has; whoever has an
//! older one asks. What their silence means is decided in [`crate::presence`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use serde::{Deserialize, Serialize};
use spanwire_mcp::{Limits, Message};
use spanwire_model::{
    Address, Backbone, BusMessage, BusRequest, Error, ErrorKind, Frame, NodeId, Principal, Publication, Result,
    ServerId, Topic,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior},
};

use crate::{
    Config, Handle,
    owner::Command,
    presence::{MAX_NODES, Patience, Presence},
    settling::Settling,
    state::{Beat, NodeState},
};

/// The method with which a node asks another one for its servers. It never leaves the backbone.
pub const INVENTORY_METHOD: &str = "spanwire/inventory";

/// The kind of topic that nodes speak on.
const TOPIC: &str = "node";

/// Longest that one question to a peer may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// Pauses before a peer that cannot be asked yet is asked again.
const ASK_AGAIN: [Duration; 5] = [
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];

/// Nesting of a node's state: that of a server's own message, and what is around it here.
const MAX_DEPTH: usize = 96;

/// How often the clock is looked at between two heartbeats.
const LOOKS: u32 = 4;

/// Servers whose load is told with a heartbeat: the busiest ones. A server that is not named is idle.
const MAX_LOADS: usize = 256;

/// What nodes say. A member that an older node does not know is left out by it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Word {
    Alive {
        beat: Beat,
        /// It takes nothing new.
        #[serde(default)]
        draining: bool,
        /// The version of its program.
        #[serde(default)]
        version: Arc<str>,
        /// Calls in flight and waiting, by server.
        #[serde(default)]
        load: BTreeMap<ServerId, u32>,
    },
    Leaving,
}

/// How far a node's servers are known.
struct Peer {
    /// What it said last.
    heard: Beat,
    /// What we have of it.
    known: Option<Beat>,
    /// What it had said when we asked.
    asked: Option<Beat>,
}

struct Peers {
    config: Arc<Config>,
    backbone: Arc<dyn Backbone>,
    handle: Handle,
    beats: watch::Receiver<Beat>,
    presence: Presence,
    peers: HashMap<NodeId, Peer>,
    answers: mpsc::Sender<(NodeId, Result<NodeState>)>,
}

/// Starts to speak and to listen. Returns when both work.
pub(crate) async fn start(
    config: Arc<Config>,
    backbone: Arc<dyn Backbone>,
    handle: Handle,
    beats: watch::Receiver<Beat>,
) -> Result<()> {
    let words = backbone.subscribe(TOPIC).await?;
    let (answers, inbox) = mpsc::channel(MAX_NODES);
    let patience = Patience {
        suspect: config.heartbeat * config.heartbeats_until_suspect,
        gone: config.heartbeat * config.heartbeats_until_gone,
    };
    let presence = Presence::new(patience, Instant::now());
    let peers = Peers { config, backbone, handle: handle.clone(), beats, presence, peers: HashMap::new(), answers };
    handle.tasks().spawn(peers.run(words, inbox));
    Ok(())
}

impl Peers {
    async fn run(
        mut self,
        mut words: BoxStream<'static, BusMessage>,
        mut answers: mpsc::Receiver<(NodeId, Result<NodeState>)>,
    ) {
        let stopping = self.handle.stopping().clone();
        let mut draining = self.handle.draining();
        let mut ticks = tokio::time::interval(self.config.heartbeat);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut settling = Settling::new(self.config.settle);
        let mut looks = tokio::time::interval(self.config.heartbeat / LOOKS);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stopping.cancelled() => break,
                _ = ticks.tick() => self.speak().await,
                _ = looks.tick() => {
                    self.look(false).await;
                    let knows_all = self.peers.values().all(|peer| peer.known.is_some());
                    let (is_connected, now) = (self.backbone.is_connected(), Instant::now());
                    self.handle.set_heard(settling.has_heard(is_connected, now));
                    if settling.is_over(is_connected, knows_all, now) {
                        self.handle.settle();
                    }
                }
                Ok(()) = draining.changed() => self.speak().await,
                changed = self.beats.changed() => if changed.is_ok() { self.speak().await },
                Some((node, answer)) = answers.recv() => self.take(node, answer).await,
                word = words.next() => match word {
                    Some(BusMessage::Publication(publication)) => self.hear(publication).await,
                    // Whatever was missed shows in the next heartbeat of each node.
                    Some(BusMessage::Gap) => self.speak().await,
                    None => break,
                },
            }
        }
        self.say(&Word::Leaving).await;
    }

    async fn speak(&mut self) {
        let beat = *self.beats.borrow_and_update();
        let draining = *self.handle.draining().borrow();
        let load = busiest(self.handle.local_loads());
        self.say(&Word::Alive { beat, draining, version: self.config.version.clone(), load }).await;
    }

    async fn say(&self, word: &Word) {
        let topic = Topic { kind: TOPIC.into(), id: self.config.node.to_string(), what: "state".into() };
        let Ok(payload) = serde_json::to_vec(word) else { return };
        if let Err(error) = self.backbone.publish(&topic, payload.into()).await {
            tracing::debug!("cannot tell the peers: {error}");
        }
    }

    async fn hear(&mut self, publication: Publication) {
        let (node, now) = (publication.from, Instant::now());
        if node == self.config.node {
            self.presence.echo(now);
            return;
        }
        match serde_json::from_slice(&publication.payload) {
            Ok(Word::Alive { beat, draining, version, load }) => {
                let is_new = !self.presence.knows(&node);
                if is_new && !self.presence.has_room() {
                    tracing::warn!(peer = %node, "more than {MAX_NODES} nodes: ignored");
                    return;
                }
                self.handle.set_loads(&node, load.into_iter().take(MAX_LOADS).collect());
                let changed = self.presence.alive(&node, draining, &version, now);
                if is_new {
                    tracing::info!(peer = %node, "node joined");
                    // A newcomer should not wait for our next tick.
                    self.speak().await;
                }
                if changed {
                    self.look(true).await;
                }
                let peer = self.peers.entry(node.clone()).or_insert(Peer { heard: beat, known: None, asked: None });
                peer.heard = beat;
                if peer.known != Some(beat) && peer.asked.is_none() {
                    peer.asked = Some(beat);
                    self.ask(node);
                }
            }
            Ok(Word::Leaving) => {
                self.presence.left(&node, now);
                self.forget(node).await;
            }
            Err(error) => tracing::warn!(peer = %node, "unreadable heartbeat: {error}"),
        }
    }

    /// Looks who is silent; tells the owner when anybody is to be shown otherwise than before.
    async fn look(&mut self, is_news: bool) {
        let now = Instant::now();
        let (gone, changed) = self.presence.look(self.backbone.is_connected(), now);
        for node in gone {
            tracing::warn!(peer = %node, "no heartbeat for too long: gone");
            self.forget(node).await;
        }
        if changed || is_news {
            self.handle.tell(Command::Presence(self.presence.nodes(now))).await;
        }
    }

    async fn forget(&mut self, node: NodeId) {
        self.peers.remove(&node);
        self.handle.forget_loads(&node);
        self.handle.tell(Command::PeerGone(node)).await;
    }

    fn ask(&self, node: NodeId) {
        let (backbone, answers, stopping) =
            (self.backbone.clone(), self.answers.clone(), self.handle.stopping().clone());
        self.handle.tasks().spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                answer = ask_patiently(&*backbone, &node) => drop(answers.send((node, answer)).await),
            }
        });
    }

    async fn take(&mut self, node: NodeId, answer: Result<NodeState>) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let asked = peer.asked.take();
        if let Ok(state) = &answer
            && asked != Some(peer.heard)
            && state.beat != peer.heard
        {
            // It changed while it answered. Only what was heard since then asks again at once, so this ends.
            peer.asked = Some(peer.heard);
            self.ask(node.clone());
        }
        match answer {
            Ok(state) if state.node == node => {
                if let Some(peer) = self.peers.get_mut(&node) {
                    peer.known = Some(state.beat);
                }
                self.handle.tell(Command::PeerState(Box::new(state))).await;
            }
            Ok(state) => tracing::warn!(peer = %node, "answered for another node, \"{}\"", state.node),
            // The next heartbeat asks again.
            Err(error) => tracing::warn!(peer = %node, "does not tell its servers: {error}"),
        }
    }
}

/// The loads that are told: those of the busiest servers.
fn busiest(mut loads: Vec<(ServerId, u32)>) -> BTreeMap<ServerId, u32> {
    loads.retain(|(_, load)| *load > 0);
    loads.sort_by_key(|(_, load)| std::cmp::Reverse(*load));
    loads.truncate(MAX_LOADS);
    loads.into_iter().collect()
}

/// Asks again when nothing was there to answer: a node that starts speaks a moment before it can be asked.
async fn ask_patiently(backbone: &dyn Backbone, node: &NodeId) -> Result<NodeState> {
    for pause in ASK_AGAIN {
        match ask(backbone, node).await {
            Err(error) if error.kind == ErrorKind::Unavailable => tokio::time::sleep(pause).await,
            answer => return answer,
        }
    }
    ask(backbone, node).await
}

async fn ask(backbone: &dyn Backbone, node: &NodeId) -> Result<NodeState> {
    let request = BusRequest {
        call_id: uuid::Uuid::now_v7(),
        principal: Principal::OPERATOR.into(),
        server: None,
        method: INVENTORY_METHOD.into(),
        name: None,
        budget: ASK_TIMEOUT,
        trace: None,
        payload: Bytes::from(format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{INVENTORY_METHOD}\"}}")),
    };
    let mut reply = backbone.request(Address::Node(node.clone()), request);
    while let Some(frame) = reply.next().await {
        if let Frame::End { payload, .. } = frame? {
            return read_state(&payload);
        }
    }
    Err(Error::new(ErrorKind::StreamLost, format!("node \"{node}\" did not finish its answer")))
}

fn read_state(payload: &Bytes) -> Result<NodeState> {
    let bad = |text: String| Error::new(ErrorKind::BadServer, format!("unreadable state of a node: {text}"));
    let limits = Limits { max_depth: MAX_DEPTH, ..Limits::default() };
    match Message::parse_single(payload, &limits)? {
        Message::Response(response) => {
            let state = response.outcome.map_err(Error::from_bus_object)?;
            state.read().map_err(|error| bad(error.to_string()))
        }
        Message::Request(_) | Message::Notification(_) => Err(bad("it is no response".into())),
    }
}
