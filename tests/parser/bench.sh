#!/usr/bin/env bash
# Measures our reader and Prometheus's text parser on the same page, one after the other on the same
# machine. Without Go and without an oracle that was built before, only our reader is measured.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

ours=$(mktemp)
trap 'rm -f "$ours"' EXIT
cd "$root"
"${CARGO:-cargo}" bench --locked -p llm-autoscaler-engines --bench extract | tee "$ours"

if ! oracle=$("$here/build.sh"); then
    echo "Prometheus's parser is not measured."
    exit
fi
echo
echo "the same page in Prometheus's text parser (textparse, $(sed -n 's/^require \(.*\)$/\1/p' "$here/go.mod" | grep prometheus), Go):"
"$oracle" bench tests/fixtures/engines/vllm-0.15.1-busy.txt -seconds 4 | awk -v ours="$ours" '
    function field(name) { match($0, "\"" name "\":[0-9.]+"); return substr($0, RSTART + length(name) + 3, RLENGTH - length(name) - 3) }
    {
        what = NR == 1 ? "every sample with its labels" : "every sample, labels left as they are"
        theirs[NR] = field("mb_per_s")
        printf "%-40s %8.1f µs %8.0f MB/s\n", what, field("ns_per_pass") / 1000, theirs[NR]
    }
    END {
        print "\nour reader, times as fast as these two:"
        while ((getline line < ours) > 0)
            if (line ~ /recipes\) .* MB\/s$/) {
                count = split(line, words, " ")
                printf "%-40s %8.1f %8.1f\n", substr(line, 1, index(line, ")")), words[count - 1] / theirs[1], words[count - 1] / theirs[2]
            }
    }'
