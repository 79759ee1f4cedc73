#!/usr/bin/env bash
# Builds the oracle: Prometheus's own parsers of the exposition formats behind a JSON interface. Prints the path of the program as
# the only line on standard output. It is kept in .cache/parser/KEY, where KEY follows from the sources, and built once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="parser oracle"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here"
target=$(cd ../.. && pwd)/.cache/parser/$(key go.mod go.sum ./*.go)
kept=(oracle)
result=$target/oracle
begin

say "building it with $have; this is done once and takes less than a minute"
flags=(-buildvcs=false -trimpath -ldflags "-s -w")
build "$work/kept/oracle" .
finish
