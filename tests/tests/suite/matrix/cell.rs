//! The cells: which client, which server, and how many nodes between them.

use std::fmt;

use spanwire_mcp::{Era, Revision};

/// How a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Transport {
    /// Streamable HTTP.
    Http,
    /// Pipes: a child of the node, or a host of `spanwire stdio`.
    Stdio,
    /// The HTTP with server-sent events of 2024-11-05.
    Sse,
}

/// A peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) revision: Revision,
    pub(super) transport: Transport,
}

/// Where the server is, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Nodes {
    /// On the client's node.
    Same,
    /// On another node, over NATS.
    Other,
    /// The client's messages go to the two nodes by turns, as through a balancer that is not sticky.
    Either,
}

/// One way for a client to meet a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) client: Peer,
    pub(super) server: Peer,
    pub(super) nodes: Nodes,
}

const fn peer(revision: Revision, transport: Transport) -> Peer {
    Peer { revision, transport }
}

/// The peers that meet each other everywhere.
const FULL: [Peer; 4] = [
    peer(Revision::V2026_07_28, Transport::Http),
    peer(Revision::V2026_07_28, Transport::Stdio),
    peer(Revision::V2025_11_25, Transport::Http),
    peer(Revision::V2025_11_25, Transport::Stdio),
];

/// The older revisions, each as client and as server.
const OLDER: [Peer; 4] = [
    peer(Revision::V2025_06_18, Transport::Http),
    peer(Revision::V2025_03_26, Transport::Http),
    peer(Revision::V2024_11_05, Transport::Stdio),
    peer(Revision::V2024_11_05, Transport::Sse),
];

/// Every server of the rig.
pub(super) fn servers() -> impl Iterator<Item = Peer> {
    FULL.into_iter().chain(OLDER)
}

impl Peer {
    pub(super) fn is_modern(self) -> bool {
        self.revision.era() == Era::Modern
    }

    /// The id of the server that is this peer.
    pub(super) fn id(self) -> String {
        let name = match self.revision {
            Revision::V2026_07_28 => "modern",
            Revision::V2025_11_25 => "legacy",
            Revision::V2025_06_18 => "june",
            Revision::V2025_03_26 => "march",
            Revision::V2024_11_05 => "first",
        };
        format!("{name}-{:?}", self.transport).to_lowercase()
    }
}

impl Cell {
    /// All of them: the four peers in full, the older ones against both eras.
    pub(super) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for client in FULL {
            for server in FULL {
                for nodes in [Nodes::Same, Nodes::Other, Nodes::Either] {
                    if nodes != Nodes::Either || client.transport == Transport::Http {
                        cells.push(Self { client, server, nodes });
                    }
                }
            }
        }
        for older in OLDER {
            let (modern, legacy) = (FULL[0], FULL[3]);
            cells.push(Self { client: older, server: modern, nodes: Nodes::Same });
            cells.push(Self { client: older, server: legacy, nodes: Nodes::Other });
            cells.push(Self { client: FULL[0], server: older, nodes: Nodes::Other });
            cells.push(Self { client: FULL[2], server: older, nodes: Nodes::Same });
        }
        cells
    }

    /// The view that the client uses: the server's own, where nothing is renamed, on another node; all servers otherwise.
    pub(super) fn view(&self) -> String {
        match self.nodes {
            Nodes::Other => self.server.id(),
            Nodes::Same | Nodes::Either => String::new(),
        }
    }

    /// The server's own name as the client sees it.
    pub(super) fn exposed(&self, own: &str) -> String {
        if self.view().is_empty() { format!("{}__{own}", self.server.id()) } else { own.to_owned() }
    }

    /// The server's own URI as the client sees it.
    pub(super) fn exposed_uri(&self, own: &str) -> String {
        if self.view().is_empty() { format!("{}+{own}", self.server.id()) } else { own.to_owned() }
    }

    /// A column of the table.
    pub(super) fn column(&self) -> String {
        let era = |peer: Peer| if peer.is_modern() { "modern" } else { "legacy" };
        format!("{} -> {}", era(self.client), era(self.server))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.revision, format!("{:?}", self.transport).to_lowercase())
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = match self.nodes {
            Nodes::Same => "one node",
            Nodes::Other => "two nodes",
            Nodes::Either => "either node",
        };
        write!(f, "client {} -> server {}, {nodes}", self.client, self.server)
    }
}
