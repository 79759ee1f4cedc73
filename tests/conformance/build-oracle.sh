#!/usr/bin/env bash
# Builds the oracle: the HorizontalPodAutoscaler's own code behind a JSON interface. Prints the path
# of the program, which is kept in .cache/oracle/<key of the sources> and built once.
#
# Go refuses overlays below its module cache, so the module of Kubernetes is reached through a link
# beside go.mod, and overlay/zz_hpakit.go is added to its package there. Nothing of Kubernetes is
# copied or changed.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="oracle"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
version=v1.37.2
cd "$here/oracle"
target=$(cd ../../.. && pwd)/.cache/oracle/$(key go.mod go.sum ./*.go overlay/*.go)
kept=(oracle)
result=$target/oracle
begin

say "building the HPA of Kubernetes $version with $have; this is done once and takes some minutes"
mkdir "$work/sources"
cp -R . "$work/sources/"
cd "$work/sources"
kubernetes=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/^.*"Dir": "\(.*\)",$/\1/p')
ln -sfn "$kubernetes" k8s-src
cat >overlay.json <<JSON
{"Replace": {"$PWD/k8s-src/pkg/controller/podautoscaler/zz_hpakit.go": "$PWD/overlay/zz_hpakit.go"}}
JSON
flags=(-mod=mod -buildvcs=false -overlay overlay.json)
build "$work/kept/oracle" .
finish
