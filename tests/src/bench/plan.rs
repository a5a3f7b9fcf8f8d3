//! What is measured: the setups, and the cells in each.

use std::{fmt, time::Duration};

use serde::Serialize;
use spanwire_mcp::Era;

/// Connections of an open loop. More calls than this at once wait, and their wait counts as latency.
pub(super) const OPEN_CONNECTIONS: usize = 64;

const PAYLOADS_BYTES: [usize; 3] = [1 << 10, 64 << 10, 1 << 20];
const CONCURRENCIES: [usize; 2] = [1, 64];

/// The way from the client to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Path {
    /// No broker.
    Direct,
    /// One node.
    OneNode,
    /// The client at one node, the server at another, NATS between them.
    TwoNodes,
}

impl Path {
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::OneNode, Self::TwoNodes];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::OneNode => "one-node",
            Self::TwoNodes => "two-nodes",
        }
    }
}

/// Which share of the calls is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tracing {
    /// None.
    Off,
    /// One in ten.
    Tenth,
    /// Every one.
    All,
}

impl Tracing {
    pub(super) const ALL: [Self; 3] = [Self::Off, Self::Tenth, Self::All];

    pub(super) fn ratio(self) -> f64 {
        match self {
            Self::Off => 0.0,
            Self::Tenth => 0.1,
            Self::All => 1.0,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Tenth => "10 %",
            Self::All => "100 %",
        }
    }
}

/// Processes that are started together and serve a group of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Setup {
    pub(super) path: Path,
    pub(super) tracing: Tracing,
}

impl Setup {
    /// Tracing as it is shown: nothing traces without a broker.
    pub(super) fn tracing_label(self) -> &'static str {
        match self.path {
            Path::Direct => "-",
            Path::OneNode | Path::TwoNodes => self.tracing.as_str(),
        }
    }

    /// The variants of one path.
    pub(super) fn of(path: Path) -> Vec<Self> {
        match path {
            Path::Direct => vec![Self { path, tracing: Tracing::Off }],
            Path::OneNode | Path::TwoNodes => Tracing::ALL.map(|tracing| Self { path, tracing }).to_vec(),
        }
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path {
            Path::Direct => f.write_str("direct"),
            Path::OneNode | Path::TwoNodes => write!(f, "{}, tracing {}", self.path.as_str(), self.tracing.as_str()),
        }
    }
}

/// How calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Load {
    /// Each worker sends its next call when it has the last answer.
    Closed {
        /// Workers, each with its own connection.
        workers: usize,
    },
    /// Calls are due at fixed times, whatever the answers do.
    Open {
        /// Calls due in a second.
        per_second: u32,
    },
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { workers } => f.pad(&format!("closed {workers}")),
            Self::Open { per_second } => f.pad(&format!("open {per_second}/s")),
        }
    }
}

/// One measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    /// What the client speaks.
    pub(super) era: Era,
    /// Length of the echoed text.
    pub(super) payload_bytes: usize,
    pub(super) load: Load,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}, {}", era_name(self.era), size_name(self.payload_bytes), self.load)
    }
}

/// How long each cell takes, and which open loops there are.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    pub(super) warm_up: Duration,
    pub(super) measure: Duration,
    open_per_second: &'static [u32],
}

impl Profile {
    /// About two minutes for all cells.
    pub(super) const QUICK: Self = Self {
        name: "quick",
        warm_up: Duration::from_millis(200),
        measure: Duration::from_millis(800),
        open_per_second: &[500],
    };
    /// About twenty minutes for all cells.
    pub(super) const FULL: Self = Self {
        name: "full",
        warm_up: Duration::from_secs(2),
        measure: Duration::from_secs(10),
        open_per_second: &[200, 500, 1000, 2000],
    };

    /// The cells of every setup.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for era in [Era::Modern, Era::Legacy] {
            for payload_bytes in PAYLOADS_BYTES {
                cells.extend(CONCURRENCIES.map(|workers| Cell { era, payload_bytes, load: Load::Closed { workers } }));
            }
        }
        let open = |&per_second: &u32| Cell {
            era: Era::Modern,
            payload_bytes: PAYLOADS_BYTES[0],
            load: Load::Open { per_second },
        };
        cells.extend(self.open_per_second.iter().map(open));
        cells
    }
}

pub(super) fn era_name(era: Era) -> &'static str {
    match era {
        Era::Modern => "modern",
        Era::Legacy => "legacy",
    }
}

pub(super) fn size_name(bytes: usize) -> String {
    if bytes >= 1 << 20 { format!("{} MiB", bytes >> 20) } else { format!("{} KiB", bytes >> 10) }
}
