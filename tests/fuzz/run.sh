#!/usr/bin/env bash
# Fuzzes what reads foreign text.
#   tests/fuzz/run.sh SECONDS TARGET...        each target for that long, one after the other
#   JOBS=2 tests/fuzz/run.sh SECONDS all       all of them, two at a time
# Ends with a table, and fails where an input made a target panic; the input is kept in .cache/fuzz/crashes, and what was found
# on the way in .cache/fuzz/corpus, from where the next run goes on. The pinned toolchain is enough; a C++ compiler is needed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/fuzz
built=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/fuzz
known=$(sed -n 's/^name = "\(.*\)"$/\1/p' "$here/Cargo.toml" | tail -n +2 | sort)

say() { echo "fuzz: $*" >&2; }
usage() { say "usage: tests/fuzz/run.sh SECONDS TARGET...; targets are ${known//$'\n'/, }, or all"; exit 2; }
[[ $# -ge 2 && $1 =~ ^[0-9]+$ ]] || usage
duration=$1
shift
targets=("$@")
[[ $* != all ]] || mapfile -t targets <<< "$known"
for target in "${targets[@]}"; do grep -qx -- "$target" <<< "$known" || usage; done

# cargo-fuzz 0.13 from crates.io, once.
version=0.13.2
fuzzer=$cache/bin/cargo-fuzz
if [[ $("$fuzzer" --version 2> /dev/null) != "cargo-fuzz $version" ]]; then
    say "installing cargo-fuzz $version into .cache/fuzz"
    CARGO_TARGET_DIR=$cache/build cargo install --quiet --locked --root "$cache" --version "$version" cargo-fuzz >&2
    rm -rf "$cache/build"
fi

# Without a sanitizer a stable compiler is enough: the code has no unsafe of its own.
cd "$root" # where the toolchain is pinned
"$fuzzer" build -s none --fuzz-dir "$here" --target-dir "$built" >&2
programs=$built/$(rustc -vV | sed -n 's/^host: //p')/release

fuzz() {
    local target=$1 corpus=$cache/corpus/$1 crashes=$cache/crashes/$1 log=$cache/$1.log options=() result="no crash"
    mkdir -p "$corpus" "$crashes"
    options=(-max_total_time="$duration" -max_len=4096 -timeout=300 -rss_limit_mb=2048 -print_final_stats=1)
    [[ ! -f $here/dictionaries/$target ]] || options+=(-dict="$here/dictionaries/$target")
    local seeds=("$corpus")
    [[ ! -d $here/seeds/$target ]] || seeds+=("$here/seeds/$target")
    say "$target for $duration s; its log is .cache/fuzz/$target.log"
    "$programs/$target" "${options[@]}" -artifact_prefix="$crashes/" "${seeds[@]}" > "$log" 2>&1 || result="FAILED, see .cache/fuzz/$target.log"
    awk -v target="$target" -v result="$result" '
        /^#/ { for (i = 1; i < NF; i++) { if ($i == "cov:") edges = $(i + 1); if ($i == "ft:") features = $(i + 1); if ($i == "corp:") corpus = $(i + 1) } }
        /^stat::number_of_executed_units/ { runs = $2 }
        END { printf "%-24s %12d executions  %5d edges  %6d features  corpus %-12s %s\n", target, runs, edges, features, corpus, result }' "$log"
    [[ $result == "no crash" ]] || echo "$target" >> "$failed"
}

failed=$(mktemp)
trap 'rm -f "$failed"' EXIT
for target in "${targets[@]}"; do
    while (( $(jobs -rp | wc -l) >= ${JOBS:-1} )); do wait -n; done
    fuzz "$target" &
done
wait
[[ ! -s $failed ]]
