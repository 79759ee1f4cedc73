#!/bin/sh
# Compares the decisions of `llm-autoscaler evaluate` with those of the HPA's own code: on the HPA's
# test tables, on random cases and on random timelines.
#   tests/conformance/run.sh [CASES [TIMELINES [SEED]]]
# It fails if an answer differs, if no case reaches some branch of the HPA's algorithm, or if the
# Default profile differs from the HPA and no named deviation explains it. The seed is printed; the
# same seed gives the same cases. A failed run leaves its cases and both sets of answers in
# .cache/conformance.
set -eu
cases=${1:-200000}
timelines=${2:-10000}
seed=${3:-$(date +%s)}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
programs=${CARGO_TARGET_DIR:-$root/target}/debug

oracle=$("$here/build-oracle.sh")
cd "$root"
cargo build --quiet --locked -p llm-autoscaler --bin llm-autoscaler -p llm-autoscaler-conformance --bin conformance

cargo test --quiet --locked -p llm-autoscaler-conformance -- --nocapture the_hpas_own_tables
for table in "$here"/cases/*.json; do
    "$oracle" -check < "$table" > /dev/null 2>&1 || { echo "the oracle does not agree with $table" >&2; exit 1; }
done

mkdir -p "$root/.cache/conformance"
work=$(mktemp -d "$root/.cache/conformance/$seed.XXXXXX")
echo "conformance: seed $seed, $cases cases and $timelines timelines"
"$programs/conformance" generate "$seed" "$cases" "$timelines" > "$work/cases"

"$programs/conformance" deviations "$work/cases" > "$work/deviations" &
deviations=$!
trap 'kill "$deviations" 2> /dev/null || true' EXIT
"$oracle" < "$work/cases" > "$work/want"
"$programs/llm-autoscaler" evaluate < "$work/cases" > "$work/got"
status=0
wait "$deviations" || status=1
cat "$work/deviations"
"$programs/conformance" compare "$work/cases" "$work/want" "$work/got" || status=1
if [ "$status" = 0 ]; then rm -r "$work"; else echo "conformance: see $work" >&2; fi
exit "$status"
