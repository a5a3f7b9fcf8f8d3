//! `bridge`
