//! Cargo builds a binary for `cargo test` only when its own package has a test like this one. The end-to-end suite, which is
//! another package, runs the binary.

#[test]
fn the_binary_is_built() {
    assert!(std::path::Path::new(env!("CARGO_BIN_EXE_spanwire")).exists());
}
