#!/usr/bin/env bash
# The benchmark: what a broker between client and server costs, side by side on this machine.
#
#   bash tests/bench.sh [--quick | --full] [--only direct,one-node,two-nodes] [--seconds-per-row N] [--json FILE]
#   bash tests/bench.sh ledger [--quick | --full] [--only appends,catch-up,context,placed,start-up] [--rounds N]
#                              [--seconds-per-row N] [--commands N] [--store-mib N]
#
# With `ledger` it is about what is durable: appends, nodes that catch up, the shared context, fail-over, start-up; --quick takes about
# five minutes there, --full most of an hour.
# --quick (the default) takes about two minutes, --full about twenty. The table goes to stdout, progress to stderr. Fails
# when a row could not be measured or an answer was wrong.
set -euo pipefail

args=()
while [ $# -gt 0 ]; do
    # cargo runs the benchmark in another folder.
    case $1 in
        --json) [ $# -gt 1 ] || { echo "--json needs a file" >&2; exit 2; }; args+=(--json "$(realpath -m -- "$2")"); shift 2 ;;
        *) args+=("$1"); shift ;;
    esac
done

cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spanwire
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
SPANWIRE_PEERS_DIR=$(bash tests/peers/install.sh | tail -n 1)
export SPANWIRE_PEERS_DIR

cargo fetch --locked >&2
# The bench profile is the release profile, so both commands share every artifact.
cargo build --release --workspace --bins --locked --offline >&2
exec cargo bench --quiet --workspace --bench throughput --locked --offline -- ${args[@]+"${args[@]}"}
