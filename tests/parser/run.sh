#!/bin/sh
# Compares our reader of metrics pages with Prometheus's own parsers, on damaged pages.
#   tests/parser/run.sh [PAGES [SEED]]             fails if they differ for an unknown reason
#   tests/parser/run.sh cases [COUNT [SEED]]       records cases/damaged.jsonl, which `cargo test` checks without Go
# The seed is printed; the same seed gives the same pages.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
parser=${CARGO_TARGET_DIR:-$root/target}/debug/parser-conformance

oracle=$("$here/build.sh")
cd "$root"
cargo build --quiet --locked -p llm-autoscaler-parser-conformance

if [ "${1:-}" = cases ]; then
    mkdir -p "$here/cases"
    "$parser" cases "$oracle" "${2:-300}" "${3:-1}" > "$here/cases/damaged.jsonl.new"
    mv "$here/cases/damaged.jsonl.new" "$here/cases/damaged.jsonl"
    exit
fi
pages=${1:-200000}
seed=${2:-$(date +%s)}
echo "parser: seed $seed, $pages pages"
"$parser" check "$here/cases/damaged.jsonl"
"$parser" compare "$oracle" "$pages" "$seed"
