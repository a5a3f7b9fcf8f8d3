//! The control API over gRPC: messages, client and server generated from `proto/spanwire/v1`.
//!
//! The contract, with its units and errors, is in the comments of the `.proto` file. `golden/broker.txt` holds its shape, so
//! that a review sees when a number or a type changes.

use std::fmt;

/// Package `spanwire.v1`.
pub mod v1 {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
    tonic::include_proto!("spanwire.v1");
}

/// The encoded `google.protobuf.FileDescriptorSet` of every package, for the reflection service.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("spanwire_descriptor");

/// Largest message in bytes that either side sends or accepts. A client sets it as its decoding limit.
pub const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;

/// Metadata of a failed method: the stable name of the error's kind.
pub const ERROR_KIND_METADATA: &str = "spanwire-error-kind";

/// Metadata of a failed method: what is needed to do better, one JSON value in ASCII, where there is something.
pub const ERROR_DATA_METADATA: &str = "spanwire-error-data";

/// Initial metadata of `Call`: the id of the call, a UUID.
pub const CALL_ID_METADATA: &str = "spanwire-call-id";

impl fmt::Debug for v1::StdioTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioTarget").field("command", &self.command).finish_non_exhaustive()
    }
}

impl fmt::Debug for v1::HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTarget").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
