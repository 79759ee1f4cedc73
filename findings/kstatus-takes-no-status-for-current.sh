#!/usr/bin/env bash
# kstatus (sigs.k8s.io/cli-utils 0.37.2), by which Flux, Helm 4 and others wait for objects.
#
# Expected: a custom resource that its controller has not looked at yet is not ready.
# Observed: an object without a status is Current, and so is one with conditions but without Ready.
#   A pipeline that waits for an object goes on before the controller has seen it. With
#   observedGeneration -1, which a default in the CRD's schema can give, the object is InProgress.
#   Ready=False is InProgress for ever; only Stalled=True is Failed.
# In this project: the CRD's status has the default observedGeneration -1, and Stalled is for what no
#   waiting helps (docs/gitops.md).
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
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	for _, text := range os.Args[1:] {
		object := &unstructured.Unstructured{}
		head := `{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"a","generation":1}`
		if err := object.UnmarshalJSON([]byte(head + text + "}")); err != nil {
			panic(err)
		}
		result, err := status.Compute(object)
		if err != nil {
			panic(err)
		}
		fmt.Println(result.Status)
	}
}
EOF
go mod init finding >log 2>&1 || cannot "$(tail -1 log)"
{ go get "sigs.k8s.io/cli-utils@$version" && go mod tidy; } >log 2>&1 || cannot "$(tail -1 log)"
go build -o kstatus . >log 2>&1 || cannot "$(tail -1 log)"

echo "kstatus $version:"
condition() { echo "{\"type\":\"$1\",\"status\":\"$2\",\"reason\":\"R\",\"message\":\"m\"}"; }
objects=(
    ''
    ",\"status\":{\"observedGeneration\":1,\"conditions\":[$(condition AbleToScale False)]}"
    ',"status":{"observedGeneration":-1}'
    ",\"status\":{\"observedGeneration\":1,\"conditions\":[$(condition Ready False)]}"
    ",\"status\":{\"observedGeneration\":1,\"conditions\":[$(condition Stalled True)]}"
)
expected=(Current Current InProgress InProgress Failed)
mapfile -t found < <(./kstatus "${objects[@]}")
is_same=0
for place in "${!objects[@]}"; do
    echo "  ${objects[place]:-no status}: ${found[place]:-nothing}"
    [[ ${found[place]:-} == "${expected[place]}" ]] || is_same=1
done
((is_same == 0)) || { echo "the behaviour has changed"; exit 1; }
echo "an object without a status is Current"
