#!/bin/sh
# Builds the oracle: the HorizontalPodAutoscaler's own code behind a JSON interface. Prints the path of the
# program, which is kept in .cache/oracle/<key of the sources> and built once.
#
# Go refuses overlays below its module cache, so the module of Kubernetes is reached through a link beside
# go.mod, and overlay/zz_hpakit.go is added to its package there. Nothing of Kubernetes is copied or changed.
set -eu
version=v1.37.2
sources=$(cd "$(dirname "$0")/oracle" && pwd)
root=$(cd "$sources/../../.." && pwd)
key=$(cd "$sources" && { go env GOVERSION; cat go.mod go.sum ./*.go overlay/*.go; } | sha256sum | cut -c1-16)
build="$root/.cache/oracle/$key"
if [ ! -x "$build/oracle" ]; then
    mkdir -p "$build"
    cp -R "$sources/." "$build/"
    cd "$build"
    kubernetes=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
    ln -sfn "$kubernetes" k8s-src
    cat > overlay.json <<JSON
{"Replace": {"$build/k8s-src/pkg/controller/podautoscaler/zz_hpakit.go": "$build/overlay/zz_hpakit.go"}}
JSON
    nice go build -mod=mod -buildvcs=false -overlay overlay.json -o oracle.new . >&2
    mv oracle.new oracle
fi
echo "$build/oracle"
