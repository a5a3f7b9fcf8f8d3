//! The headers of a frame of a reply.

use std::time::Duration;

use async_nats::HeaderMap;
use spanwire_model::{ErrorKind, NodeId};

use super::{header, parts::Whole};

/// What a frame is, beside its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// Its number from 1; the last number for what has none.
    pub(super) seq: u64,
    /// The node that answers: on the first frame, on errors and on signs of life.
    pub(super) node: Option<NodeId>,
    /// On the frame that completes a payload in parts.
    pub(super) whole: Option<Whole>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Progress,
    Message,
    End {
        elapsed: Duration,
    },
    /// The beginning of a payload that the next frames go on with.
    Part,
    /// The payload is the text of the error.
    Failed(ErrorKind),
    /// Not numbered: the node is alive, and this many parts of the request have arrived.
    Alive {
        got: u32,
        starved: bool,
    },
}

/// The errors that a backbone itself makes.
const ERRORS: [ErrorKind; 8] = [
    ErrorKind::HeaderMismatch,
    ErrorKind::InvalidRequest,
    ErrorKind::TooLarge,
    ErrorKind::Overloaded,
    ErrorKind::DeadlineExceeded,
    ErrorKind::StreamLost,
    ErrorKind::Unavailable,
    ErrorKind::Internal,
];

impl Head {
    pub(super) fn encode(&self) -> HeaderMap {
        let mut headers = header::new();
        let name = match self.kind {
            Kind::Progress => "progress",
            Kind::Message => "message",
            Kind::End { elapsed } => {
                header::put(&mut headers, header::ELAPSED_US, elapsed.as_micros().to_string());
                "end"
            }
            Kind::Part => "part",
            Kind::Failed(kind) => {
                let kind = spanwire_model::Error::new(kind, "").kind_name();
                header::put(&mut headers, header::ERROR, kind);
                "error"
            }
            Kind::Alive { got, starved } => {
                header::put(&mut headers, header::GOT, got.to_string());
                if starved {
                    header::put(&mut headers, header::STARVED, "1");
                }
                "alive"
            }
        };
        header::put(&mut headers, header::FRAME, name);
        header::put(&mut headers, header::SEQ, self.seq.to_string());
        if let Some(node) = &self.node {
            header::put(&mut headers, header::NODE, node.as_str());
        }
        if let Some(whole) = &self.whole {
            header::put(&mut headers, header::WHOLE, whole.to_string());
        }
        headers
    }

    /// `None` for what is not a frame.
    pub(super) fn decode(headers: &HeaderMap) -> Option<Self> {
        if !header::is_ours(headers) {
            return None;
        }
        let kind = match header::get(headers, header::FRAME)? {
            "progress" => Kind::Progress,
            "message" => Kind::Message,
            "end" => Kind::End { elapsed: Duration::from_micros(header::parse(headers, header::ELAPSED_US)?) },
            "part" => Kind::Part,
            "error" => Kind::Failed(error_kind(header::get(headers, header::ERROR)?)),
            "alive" => Kind::Alive {
                got: header::parse(headers, header::GOT)?,
                starved: header::get(headers, header::STARVED).is_some(),
            },
            _ => return None,
        };
        let node = match header::get(headers, header::NODE) {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        let whole = match header::get(headers, header::WHOLE) {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        Some(Self { kind, seq: header::parse(headers, header::SEQ)?, node, whole })
    }
}

fn error_kind(name: &str) -> ErrorKind {
    ERRORS
        .into_iter()
        .find(|kind| spanwire_model::Error::new(*kind, "").kind_name() == name)
        .unwrap_or(ErrorKind::Internal)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn heads_come_back() {
        let whole = Whole { size: 7, digest: [3; 32] };
        let kinds = [
            Kind::Progress,
            Kind::Message,
            Kind::End { elapsed: Duration::from_micros(1_234) },
            Kind::Part,
            Kind::Alive { got: 0, starved: false },
            Kind::Alive { got: 12, starved: true },
        ];
        for kind in kinds.into_iter().chain(ERRORS.map(Kind::Failed)) {
            for node in [None, Some("n-1".parse().unwrap())] {
                for whole in [None, Some(whole.clone())] {
                    let head = Head { kind, seq: 42, node: node.clone(), whole };
                    assert_eq!(Head::decode(&head.encode()), Some(head));
                }
            }
        }
    }

    #[test]
    fn what_is_not_a_frame() {
        let good = Head { kind: Kind::Message, seq: 1, node: None, whole: None }.encode();
        assert_eq!(Head::decode(&HeaderMap::new()), None);
        let changes = [
            (header::WIRE, "2"),
            (header::FRAME, "other"),
            (header::SEQ, "-1"),
            (header::NODE, "Not One"),
            (header::WHOLE, "7 x"),
        ];
        for (name, value) in changes {
            let mut bad = good.clone();
            header::put(&mut bad, name, value);
            assert_eq!(Head::decode(&bad), None, "{name}: {value}");
        }
    }
}
