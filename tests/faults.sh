#!/usr/bin/env bash
# Three nodes and three NATS servers under load, one fault after the other; in the end everything is checked.
#
#   bash tests/faults.sh [--seed N] [--minutes M] [--kinds NAME,NAME] [--agree-seconds S] [--sync always] [--lines proxies]
#                         [--keep FOLDER]
#
# Without --minutes each kind of fault comes once, in about three minutes; with it they go on, in an order of the seed's, until the
# time is over. The names of faults are those in tests/src/cluster/fault.rs, such as kill-node. --agree-seconds is the longest that the
# nodes may take to agree after a fault is undone, 15 unless told. The table goes to stdout, progress to stderr. Fails when anything was
# lost or done twice, or a checker found anything else. --keep leaves each failure with its time, and all logs, in a folder.
#
# Each node and each server is in a network namespace of its own where that is allowed (root, or user namespaces; Linux), and lines are broken
# by dropping packets. Elsewhere, and with --lines proxies, they are on loopback behind TCP proxies. Disks are made slow by seccomp where the
# kernel allows it; elsewhere a server that stutters stands for it. The table says which it was. Nothing is left behind in either case.
set -euo pipefail

usage() { sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2; exit 2; }

SPANWIRE_FAULTS_SEED=$RANDOM$RANDOM SPANWIRE_FAULTS_AGREE_SECONDS=15
while [ $# -gt 0 ]; do
    [ $# -gt 1 ] || usage
    case $1 in
        --seed) SPANWIRE_FAULTS_SEED=$2 ;;
        --minutes) SPANWIRE_FAULTS_MINUTES=$2 ;;
        --kinds) SPANWIRE_FAULTS_KINDS=$2 ;;
        --agree-seconds) SPANWIRE_FAULTS_AGREE_SECONDS=$2 ;;
        --sync) SPANWIRE_FAULTS_SYNC=$2 ;;
        --lines) SPANWIRE_FAULTS_LINES=$2 ;;
        --keep) SPANWIRE_FAULTS_KEEP=$(realpath -m -- "$2") ;;
        *) usage ;;
    esac
    shift 2
done
export SPANWIRE_FAULTS_SEED SPANWIRE_FAULTS_AGREE_SECONDS
export SPANWIRE_FAULTS_MINUTES=${SPANWIRE_FAULTS_MINUTES:-} SPANWIRE_FAULTS_KINDS=${SPANWIRE_FAULTS_KINDS:-}
export SPANWIRE_FAULTS_SYNC=${SPANWIRE_FAULTS_SYNC:-} SPANWIRE_FAULTS_LINES=${SPANWIRE_FAULTS_LINES:-}
export SPANWIRE_FAULTS_KEEP=${SPANWIRE_FAULTS_KEEP:-}

cd "$(dirname "${BASH_SOURCE[0]}")/.."
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spanwire
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
SPANWIRE_PEERS_DIR=$(bash tests/peers/install.sh | tail -n 1)
export SPANWIRE_PEERS_DIR

cargo fetch --locked >&2
cargo build --workspace --bins --tests --locked --offline >&2
exec cargo test --quiet --package spanwire-tests --test suite --locked --offline -- \
    --exact --nocapture faults::cluster::nothing_is_lost_and_nothing_is_done_twice
