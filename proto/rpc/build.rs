//! Generates the gRPC code from `proto/spanwire/v1`, without a protoc binary.

use std::{error::Error, path::PathBuf};

use prost::Message;

/// Hold secrets: `src/lib.rs` writes their `Debug` by hand.
const SECRET: [&str; 2] = [".spanwire.v1.StdioTarget", ".spanwire.v1.HttpTarget"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=../spanwire/v1");
    let descriptors = protox::compile(["spanwire/v1/broker.proto", "spanwire/v1/context.proto"], [".."])?;
    let out_dir = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("spanwire_descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".spanwire.v1")
        .btree_map(".spanwire.v1")
        .skip_debug(SECRET)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
