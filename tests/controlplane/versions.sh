#!/usr/bin/env bash
# Runs suites of tests/e2e on control planes of several versions of Kubernetes, one after the other,
# and prints a table of the scenarios that passed. It fails if one did not.
#
#   VERSIONS  minor versions: the newest one, which go.mod pins, and folders beside this script
#   SUITES    names of tests of llm-autoscaler-e2e
#   CARGO     cargo
#
# The suites and the operator's binary have been built before (make test-versions).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/../.."
what="versions"
# shellcheck source=tests/lib/say.sh
. tests/lib/say.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT
rows=()
failed=
for version in $VERSIONS; do
    for suite in $SUITES; do
        say "$suite on Kubernetes $version"
        CONTROLPLANE=$version "${CARGO:-cargo}" test --locked -p llm-autoscaler-e2e --test "$suite" 2>&1 \
            | tee "$log" || failed=yes
        # What the API server says of itself, not what was wanted.
        served=$(sed -nE 's/^the control plane \(Kubernetes v([0-9.]+)\) is ready.*/\1/p' "$log")
        [[ $served == "$version".* ]] || die "$suite ran on Kubernetes '$served', not on $version"
        passed=$(sed -nE 's/^test result: .* ([0-9]+) passed; ([0-9]+) failed;.*/\1 of \1+\2/p' "$log")
        [[ -n $passed ]] || die "$suite on Kubernetes $version ended without a result"
        missed=$(sed -nE 's/^test (.*) \.\.\. FAILED.*/\1/p' "$log" | paste -sd ' ')
        rows+=("$(printf '| %-10s | %-8s | %-10s | %s' "$served" "$suite" \
            "${passed% of*} of $((${passed#* of }))" "$missed")")
    done
done

echo
echo "| Kubernetes | suite    | passed     | failed"
printf '%s\n' "${rows[@]}"
[[ -z $failed ]] || die "scenarios failed; their messages are above"
