#!/usr/bin/env bash
# Builds LeaderWorkerSet's controller from the version that go.mod pins, and prints the folder that holds it as the only line on
# standard output. Beside the program, lws-manager, are crds, the folder of its CustomResourceDefinitions, and webhooks, that of the
# configurations of its webhooks, as its module has them. Everything else goes to standard error.
#
# Cold it takes some minutes; the result stays in .cache/lws/KEY, where KEY follows from the files go.mod and go.sum, and is printed
# at once from then on.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="LeaderWorkerSet"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here"
target=$(cd ../.. && pwd)/.cache/lws/$(key go.{mod,sum})
kept=(lws-manager crds webhooks)
begin

say "building its controller with $have; this is done once and takes some minutes"
flags=(-buildvcs=false -trimpath -ldflags "-s -w")
build "$work/kept/lws-manager" sigs.k8s.io/lws/cmd

module=$(go list -m -f '{{.Dir}}' sigs.k8s.io/lws)
mkdir "$work/kept/crds" "$work/kept/webhooks"
# Copies that are not read-only as the originals are.
for crd in "$module"/config/crd/bases/*.yaml; do cat "$crd" >"$work/kept/crds/${crd##*/}"; done
cat "$module/config/webhook/manifests.yaml" >"$work/kept/webhooks/manifests.yaml"
finish
