#!/usr/bin/env bash
# Builds Spanwire and runs it: `bash broker/spanwire.sh demo`. Takes the arguments of `spanwire`.
#
#   CARGO_TARGET_DIR    where cargo builds; default: a folder in the user's cache, the same one as that of `tests/run.sh`
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/spanwire/target}

# The whole workspace, as the tests build it, so that neither compiles what the other has. stdout is the program's own.
cargo build --manifest-path "$root/Cargo.toml" --workspace --bins --locked >&2
exec "$CARGO_TARGET_DIR/debug/spanwire" "$@"
