#!/bin/sh
# Compares our decisions with those of the HPA's own code, on random cases and timelines.
#   tests/conformance/run.sh [CASES [TIMELINES [SEED]]]
# The seed is printed; the same seed gives the same cases. Leaves the cases and both answers of a run that found
# a difference in .cache/conformance.
set -eu
cases=${1:-20000}
timelines=${2:-1000}
seed=${3:-$(date +%s)}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work="$root/.cache/conformance"
target=${CARGO_TARGET_DIR:-$root/target}/debug

oracle=$("$here/build-oracle.sh")
(cd "$root" && cargo build --quiet -p llm-autoscaler --bin llm-autoscaler --example conformance)

for table in "$here"/cases/*.json; do
    "$oracle" -check < "$table" > /dev/null 2>&1 || { echo "the oracle does not agree with $table" >&2; exit 1; }
done

mkdir -p "$work"
echo "seed $seed: $cases cases and $timelines timelines"
"$target/examples/conformance" generate "$seed" "$cases" "$timelines" > "$work/cases"
"$oracle" < "$work/cases" > "$work/want"
"$target/llm-autoscaler" evaluate < "$work/cases" > "$work/got"
"$target/examples/conformance" compare "$work/cases" "$work/want" "$work/got"
rm -r "$work"
