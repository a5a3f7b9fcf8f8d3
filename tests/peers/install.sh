#!/usr/bin/env bash
# Installs the real MCP servers and clients of the end-to-end tests, pinned by package-lock.json and requirements.txt, into
# a cache folder. Its path is the last line on stdout; a run that finds the folder up to date only prints it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dir=${SPANWIRE_PEERS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/spanwire/peers}

say() { echo "peers: $*" >&2; }
die() { say "$*"; exit 1; }

for tool in node npm python3; do
    command -v "$tool" >/dev/null || die "$tool is missing; on Debian: apt-get install nodejs npm python3"
done
node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' ||
    die "node $(node --version) is too old; the TypeScript SDK needs 20 or newer"

mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
# Two test runs at once must not install over each other.
exec 9>"$dir/.lock"
if command -v flock >/dev/null; then flock 9; fi

digest=$({
    cat "$here/package.json" "$here/package-lock.json" "$here/requirements.txt"
    node --version
    python3 --version
    echo "$dir"
} | sha256sum | cut -d' ' -f1)

if [ "$(cat "$dir/.installed" 2>/dev/null || true)" = "$digest" ]; then
    echo "$dir"
    exit 0
fi
rm -f "$dir/.installed"

say "installing the npm packages"
cp "$here/package.json" "$here/package-lock.json" "$dir/"
(cd "$dir" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)

say "installing the Python packages"
rm -rf "$dir/venv"
if ! python3 -m venv "$dir/venv" >"$dir/venv.log" 2>&1; then
    rm -rf "$dir/venv"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "python3 -m venv failed; installing python3-venv"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv; } >&2
        python3 -m venv "$dir/venv" >&2 || die "python3 -m venv still fails; see above"
    else
        cat "$dir/venv.log" >&2
        die "python3 -m venv failed; on Debian, as root: apt-get install python3-venv"
    fi
fi
"$dir/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes \
    --only-binary :all: -r "$here/requirements.txt" >&2

echo "$digest" >"$dir/.installed"
echo "$dir"
