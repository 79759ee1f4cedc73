#!/usr/bin/env bash
# Builds Prometheus, the Prometheus Operator and prometheus-adapter from the versions that the go.mod files in prometheus, operator and
# adapter pin, and prints the folder that holds them as the only line on standard output. Beside the three is crds, the folder of the
# operator's CustomResourceDefinitions. Everything else goes to standard error.
#
# Cold it takes some minutes; the result stays in .cache/monitoring/KEY, where KEY follows from the files go.mod and go.sum, and is
# printed at once from then on.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="monitoring"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here"
target=$(cd ../.. && pwd)/.cache/monitoring/$(key {prometheus,operator,adapter}/go.{mod,sum})
kept=(prometheus prometheus-operator prometheus-adapter crds)
begin

# program MODULE NAME PACKAGE FLAG...: builds the program of one module.
program() {
    local module=$1 name=$2 package=$3
    shift 3
    flags=(-buildvcs=false -trimpath -ldflags "-s -w" "$@")
    cd "$here/$module"
    build "$work/kept/$name" "$package"
}

say "building Prometheus, its operator and its adapter with $have; this is done once and takes some minutes"
# Of the ways to discover targets only the one that is needed: the others are most of Prometheus's code.
program prometheus prometheus github.com/prometheus/prometheus/cmd/prometheus -tags remove_all_sd,enable_kubernetes_sd
program operator prometheus-operator github.com/prometheus-operator/prometheus-operator/cmd/operator
program adapter prometheus-adapter sigs.k8s.io/prometheus-adapter/cmd/adapter

cd "$here/operator"
module=$(go list -m -f '{{.Dir}}' github.com/prometheus-operator/prometheus-operator)
mkdir "$work/kept/crds"
for crd in "$module"/example/prometheus-operator-crd/*.yaml; do
    cat "$crd" >"$work/kept/crds/${crd##*/}" # a copy that is not read-only as the original is
done
finish
