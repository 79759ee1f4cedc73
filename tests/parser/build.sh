#!/usr/bin/env bash
# Builds the oracle: Prometheus's own parsers of the exposition formats behind a JSON interface. Prints the path of the program as
# the only line on standard output. It is kept in .cache/parser/KEY, where KEY follows from the sources, and built once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(cd "$here/../.." && pwd)/.cache/parser
sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
key=$(cd "$here" && cat go.mod go.sum ./*.go | sha256 | cut -c1-12)
oracle=$cache/$key/oracle
if [[ -x $oracle ]]; then echo "$oracle"; exit; fi

say() { echo "parser oracle: $*" >&2; }
command -v go >/dev/null || { say "building it needs Go 1.26 or newer, and there is no 'go' in PATH: install it from https://go.dev/dl"; exit 1; }

# One build at a time; whoever waited finds the result of the other.
mkdir -p "$cache/$key"
exec 9>"$cache/$key.lock"
flock -n 9 || { say "another process is building it, waiting"; flock 9; }
if [[ ! -x $oracle ]]; then
    say "building it into .cache/parser/$key; this is done once and takes less than a minute"
    (cd "$here" && nice go build -buildvcs=false -trimpath -ldflags "-s -w" -o "$oracle.new" . >&2 9>&-)
    mv "$oracle.new" "$oracle" # a build that is interrupted leaves no oracle
fi
echo "$oracle"
