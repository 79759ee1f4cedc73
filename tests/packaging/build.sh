#!/usr/bin/env bash
# Builds helm, kustomize and kubeconform from the versions that the go.mod files in helm, kustomize
# and kubeconform pin, and prints their folder as the only line on standard output. The folder also
# has servicemonitors.yaml and prometheusrules.yaml, CRDs of the Prometheus Operator that
# ../monitoring pins. Everything else goes to standard error.
#
# The first build takes some minutes. The result is kept in .cache/packaging/KEY, where KEY is a hash
# of the go.mod and go.sum files; from then on the script prints its path at once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="packaging"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here"
target=$(cd ../.. && pwd)/.cache/packaging/$(key {helm,kustomize,kubeconform}/go.{mod,sum})
kept=(helm kustomize kubeconform servicemonitors.yaml prometheusrules.yaml)
begin

say "building helm, kustomize and kubeconform with $have; this is done once and takes some minutes"
operator=github.com/prometheus-operator/prometheus-operator
cd "$here/../monitoring/operator"
go mod download "$operator" >&2
crds=$(go list -m -f '{{.Dir}}' "$operator")/example/prometheus-operator-crd
for kind in servicemonitors prometheusrules; do
    cp "$crds/monitoring.coreos.com_$kind.yaml" "$work/kept/$kind.yaml"
    chmod 755 "$work/kept/$kind.yaml"
done

program kubeconform kubeconform github.com/yannh/kubeconform/cmd/kubeconform
program kustomize kustomize sigs.k8s.io/kustomize/kustomize/v5
program helm helm helm.sh/helm/v4/cmd/helm
finish
