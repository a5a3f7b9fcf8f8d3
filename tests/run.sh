#!/usr/bin/env bash
# All tests, the lints and the formatting: `bash tests/run.sh`. Arguments go to the test runner, as a filter by name.
#
# The last line on stdout is `N passed, N failed`, also of a run that stopped early. The exit code is 0 only when tests ran,
# none failed, and the lints and the formatting are clean.
#   CARGO_TARGET_DIR    where cargo builds; default: a folder in the user's cache
#   SPANWIRE_PEERS_DIR  where the real MCP servers and clients of the end-to-end tests are installed; default: likewise
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
: "${HOME:=$(cd ~ && pwd)}"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/spanwire
export HOME CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never} CARGO_TERM_PROGRESS_WHEN=never

passed=0
failed=0
broken=()
logs=$(mktemp -d)

finish() {
    local status=$?
    trap - EXIT
    rm -rf "$logs"
    [ "$status" -eq 0 ] || broken+=("this script stopped early")
    if [ $((passed + failed)) -eq 0 ]; then broken+=("no test ran"); fi
    local what
    for what in ${broken[@]+"${broken[@]}"}; do echo "FAILED: $what"; done
    # A check that fails counts as one failure, so that the closing line never looks like success.
    echo "$passed passed, $((failed + ${#broken[@]})) failed"
    if [ $((failed + ${#broken[@]})) -gt 0 ]; then exit 1; fi
    exit 0
}
trap finish EXIT

step() { printf '\n== %s\n' "$*"; }

# Runs a check and goes on when it fails.
check() {
    local name=$1
    shift
    step "$name"
    if ! "$@"; then broken+=("$name"); fi
}

# Adds the sum of each `test result:` line of cargo test to the totals.
count_cargo_test() {
    local p f
    read -r p f < <(awk '/^test result:/ { for (i = 1; i < NF; i++) { if ($(i + 1) == "passed;") p += $i; if ($(i + 1) == "failed;") f += $i } }
                         END { print p + 0, f + 0 }' "$1")
    passed=$((passed + p))
    failed=$((failed + f))
}

# Adds the numbers of nextest's last summary line to the totals.
count_nextest() {
    local p f
    read -r p f < <(awk '/^ *Summary \[/ { p = f = 0; for (i = 1; i < NF; i++) { if ($(i + 1) ~ /^passed/) p = $i
                             if ($(i + 1) ~ /^failed/ || $(i + 1) == "timed" || $(i + 1) == "exec") f += $i } }
                         END { print p + 0, f + 0 }' "$1")
    passed=$((passed + p))
    failed=$((failed + f))
}

# Runs a test command, shows and counts what it says. A runner that fails without a failed test (it did not compile, it
# crashed) is itself a failure.
tests() {
    local name=$1 count=$2 log=$logs/$2 status=0 before=$failed
    shift 2
    step "$name"
    "$@" 2>&1 | tee "$log" || status=$?
    "$count" "$log"
    if [ "$status" -ne 0 ] && [ "$failed" -eq "$before" ]; then broken+=("$name ended with exit code $status"); fi
}

step "peers"
SPANWIRE_PEERS_DIR=$(bash tests/peers/install.sh | tail -n 1)
[ -d "$SPANWIRE_PEERS_DIR" ] || { echo "tests/peers/install.sh names no folder"; exit 1; }
export SPANWIRE_PEERS_DIR
echo "$SPANWIRE_PEERS_DIR"

step "build"
cargo fetch --locked
cargo build --workspace --bins --tests --locked --offline

if cargo nextest --version >/dev/null 2>&1; then
    tests "tests" count_nextest cargo nextest run --workspace --locked --offline --no-fail-fast "$@"
else
    tests "tests" count_cargo_test cargo test --workspace --lib --bins --tests --locked --offline --no-fail-fast -- "$@"
fi

if [ $# -eq 0 ]; then
    tests "documentation tests" count_cargo_test cargo test --workspace --doc --locked --offline --no-fail-fast
    if cargo fmt --version >/dev/null 2>&1; then check "formatting" cargo fmt --all --check; fi
    if cargo clippy --version >/dev/null 2>&1; then
        check "lints" cargo clippy --workspace --all-targets --locked --offline --quiet -- -D warnings
    fi
    if cargo deny --version >/dev/null 2>&1; then
        check "licences and bans" cargo deny --offline --log-level error check licenses bans sources
    fi
fi
