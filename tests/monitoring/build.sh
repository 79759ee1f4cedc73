#!/usr/bin/env bash
# Builds Prometheus, promtool, the Prometheus Operator and prometheus-adapter from the versions that
# the go.mod files in prometheus, operator and adapter pin, and prints their folder as the only line
# on standard output. The folder also has crds, with the operator's CustomResourceDefinitions.
# Everything else goes to standard error.
#
# The first build takes some minutes. The result is kept in .cache/monitoring/KEY, where KEY is a
# hash of the go.mod and go.sum files; from then on the script prints its path at once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="monitoring"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here"
target=$(cd ../.. && pwd)/.cache/monitoring/$(key {prometheus,operator,adapter}/go.{mod,sum})
kept=(prometheus promtool prometheus-operator prometheus-adapter crds)
begin

say "building Prometheus, its operator and its adapter with $have; this is done once and takes some minutes"
# Only the Kubernetes service discovery is built in: the others are most of Prometheus's code.
program prometheus prometheus github.com/prometheus/prometheus/cmd/prometheus -tags remove_all_sd,enable_kubernetes_sd
program prometheus promtool github.com/prometheus/prometheus/cmd/promtool -tags remove_all_sd,enable_kubernetes_sd
program operator prometheus-operator github.com/prometheus-operator/prometheus-operator/cmd/operator
program adapter prometheus-adapter sigs.k8s.io/prometheus-adapter/cmd/adapter

cd "$here/operator"
module=$(go list -m -f '{{.Dir}}' github.com/prometheus-operator/prometheus-operator)
mkdir "$work/kept/crds"
for crd in "$module"/example/prometheus-operator-crd/*.yaml; do
    cat "$crd" >"$work/kept/crds/${crd##*/}" # a copy that is not read-only as the original is
done
finish
