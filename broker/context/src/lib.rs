//! The context that agents share.
