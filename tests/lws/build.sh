#!/usr/bin/env bash
# Builds LeaderWorkerSet's controller, and prints its folder as the only line on standard output.
# Without an argument it is the version that go.mod pins; with 0.9 it is that of 0.9/go.mod, which has
# DisaggregatedSets too. The folder has the program lws-manager, and two folders of its module:
# crds, with the CustomResourceDefinitions, and webhooks, with the webhook configurations. Everything
# else goes to standard error.
#
# The first build takes some minutes. The result is kept in .cache/lws/KEY, where KEY is a hash of
# that go.mod and its go.sum; from then on the script prints its path at once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="LeaderWorkerSet${1:+ $1}"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here/${1:-.}"
target=$(cd "$here/../.." && pwd)/.cache/lws/$(key go.{mod,sum})
kept=(lws-manager crds webhooks)
begin

say "building its controller with $have; this is done once and takes some minutes"
flags=(-buildvcs=false -trimpath -ldflags "-s -w")
build "$work/kept/lws-manager" sigs.k8s.io/lws/cmd

module=$(go list -m -f '{{.Dir}}' sigs.k8s.io/lws)
mkdir "$work/kept/crds" "$work/kept/webhooks"
# The originals in Go's module cache are read-only; the copies shall not be.
for crd in "$module"/config/crd/bases/*.yaml; do cat "$crd" >"$work/kept/crds/${crd##*/}"; done
cat "$module/config/webhook/manifests.yaml" >"$work/kept/webhooks/manifests.yaml"
finish
