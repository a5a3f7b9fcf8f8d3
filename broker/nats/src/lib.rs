//! One connection to NATS.
