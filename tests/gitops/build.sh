#!/usr/bin/env bash
# Builds Helm, and a program that answers as GitOps tools do: by kstatus, by Flux's library that
# applies, and by the Lua machine of Argo CD. Prints their folder as the only line on standard
# output. Everything else goes to standard error.
#
# The first build takes some minutes. The result is kept in .cache/gitops/KEY, where KEY follows
# from the sources; from then on the script prints its path at once.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="GitOps tools"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here"
target=$(cd ../.. && pwd)/.cache/gitops/$(key go.mod go.sum ./*.go)
kept=(gitops helm)
begin

say "building them with $have; this is done once and takes some minutes"
# Helm reads the version that it reports, and the Kubernetes version of its templates, from the
# modules that it is built with.
flags=(-buildvcs=false -trimpath -ldflags "-s -w")
build "$work/kept/gitops" .
build "$work/kept/helm" helm.sh/helm/v4/cmd/helm
finish
