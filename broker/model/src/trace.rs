//! W3C trace context as it travels with a call (Trace Context level 2; SEP-414 for `_meta`).

use std::{fmt, sync::Arc};

/// The position of a call in a trace: what is sent to the next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace; never zero.
    pub trace_id: u128,
    /// The span that is the parent of whatever comes next; never zero.
    pub span_id: u64,
    /// Whether spans of this trace are recorded.
    pub sampled: bool,
    /// Vendors' state, passed on unread; at most 512 characters.
    pub tracestate: Option<Arc<str>>,
}

/// A `traceparent` that cannot be read. It never fails a call: the call starts a trace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("traceparent is not in the form 00-<32 hex>-<16 hex>-<2 hex>")]
pub struct InvalidTraceparent;

impl TraceContext {
    /// Longest tracestate that is passed on.
    pub const MAX_TRACESTATE: usize = 512;

    /// Reads the two header values.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<Self, InvalidTraceparent> {
        let mut parts = traceparent.trim().split('-');
        let mut hex = |len: usize| {
            let part = parts.next().filter(|part| part.len() == len)?;
            let lower = part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if lower { u128::from_str_radix(part, 16).ok() } else { None }
        };
        let (version, trace_id, span_id, flags) = (hex(2), hex(32), hex(16), hex(2));
        let extra = parts.next().is_some();
        match (version, trace_id, span_id, flags) {
            (Some(version), Some(trace_id), Some(span_id), Some(flags))
                if version != 0xff && !(version == 0 && extra) && trace_id != 0 && span_id != 0 =>
            {
                let tracestate = tracestate.filter(|state| !state.is_empty() && state.len() <= Self::MAX_TRACESTATE);
                #[allow(clippy::cast_possible_truncation, reason = "16 hex digits fit")]
                Ok(Self {
                    trace_id,
                    span_id: span_id as u64,
                    sampled: flags & 1 == 1,
                    tracestate: tracestate.map(Into::into),
                })
            }
            _ => Err(InvalidTraceparent),
        }
    }

    /// The `traceparent` value.
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }

    /// The trace id in hex.
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_in_and_out() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(TraceContext::parse(good, None).unwrap().traceparent(), good);
        for bad in [
            "",
            "x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        ] {
            assert_eq!(TraceContext::parse(bad, None), Err(InvalidTraceparent), "{bad}");
        }
        let newer = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-future";
        assert!(TraceContext::parse(newer, Some("a=b")).is_ok());
    }
}
