#!/usr/bin/env bash
# The field manager of Kubernetes (k8s.io/apimachinery 0.37.2), by which kube-apiserver keeps
# managedFields, and the Scale of autoscaling/v1.
#
# Expected: whoever writes spec.replicas through the scale subresource owns the field afterwards.
# Observed: not where the number is 0. The field has omitempty, so a Scale of zero replicas has no
#   spec.replicas: its writer does not own the field, and the writer before owns it no longer.
#   Whoever wants to know who has scaled a workload to zero is told nothing.
# In this project: a zero that was written just before the operator ended is known for its own by the
#   status before it, and not by managedFields (docs/targets.md#to-zero-and-back).
#
# Exit status: 0 the surprise exists, 1 it does not, 2 it could not be tried.
set -euo pipefail

version=v0.37.2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cannot() { echo "cannot be tried: $*" >&2; exit 2; }

command -v go >/dev/null || cannot "there is no go"
cd "$folder"
cat >main.go <<'EOF'
package main

import (
	"encoding/json"
	"fmt"

	autoscaling "k8s.io/api/autoscaling/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/managedfields/managedfieldstest"
)

func main() {
	kind := autoscaling.SchemeGroupVersion.WithKind("Scale")
	manager := managedfieldstest.NewTestFieldManager(managedfields.NewDeducedTypeConverter(), kind)
	for _, write := range []struct {
		by       string
		replicas int32
	}{{"first", 3}, {"second", 1}, {"third", 0}} {
		scale := &autoscaling.Scale{
			TypeMeta:   meta.TypeMeta{APIVersion: "autoscaling/v1", Kind: "Scale"},
			ObjectMeta: meta.ObjectMeta{Name: "a"},
			Spec:       autoscaling.ScaleSpec{Replicas: write.replicas},
		}
		if err := manager.Update(scale, write.by); err != nil {
			panic(err)
		}
		owner := "no owner"
		for _, entry := range manager.ManagedFields() {
			var fields map[string]map[string]any
			if err := json.Unmarshal(entry.FieldsV1.Raw, &fields); err != nil {
				panic(err)
			}
			if _, owns := fields["f:spec"]["f:replicas"]; owns {
				owner = "owned by the " + entry.Manager
			}
		}
		fmt.Printf("%d, written by the %s: %s\n", write.replicas, write.by, owner)
	}
}
EOF
go mod init finding >log 2>&1 || cannot "$(tail -1 log)"
{ go get "k8s.io/api@$version" "k8s.io/apimachinery@$version" && go mod tidy; } >log 2>&1 ||
    cannot "$(tail -1 log)"
go build -o owners . >log 2>&1 || cannot "$(tail -1 log)"

echo "k8s.io/apimachinery $version, the owner of a Scale's spec.replicas:"
found=$(./owners)
sed 's/^/  /' <<<"$found"
expected='3, written by the first: owned by the first
1, written by the second: owned by the second
0, written by the third: no owner'
[[ $found == "$expected" ]] || { echo "the behaviour has changed"; exit 1; }
echo "a scale of zero replicas has no owner"
