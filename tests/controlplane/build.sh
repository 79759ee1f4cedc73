#!/usr/bin/env bash
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl from the versions that go.mod
# pins, and prints their folder as the only line on standard output. Everything else goes to
# standard error.
#
# CONTROLPLANE=1.35 builds the API server and the controller manager of 1.35/go.mod instead; there
# is a folder for each older minor version that is tested. etcd and kubectl are those of go.mod.
#
# The first build takes some minutes. The result is kept in .cache/controlplane/KEY, where KEY is a
# hash of that go.mod and its go.sum; from then on the script prints its path at once. If
# KUBEBUILDER_ASSETS is set, the binaries in that folder are used instead and nothing is built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="control plane${CONTROLPLANE:+ $CONTROLPLANE}"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"

# pinned FOLDER: prints the version of Kubernetes that the folder's go.mod requires.
pinned() { sed -nE 's|^(require)?\s+k8s.io/kubernetes (v[0-9.]+).*|\2|p' "$1/go.mod"; }

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
    [[ -z ${CONTROLPLANE:-} ]] \
        || die "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS and CONTROLPLANE is $CONTROLPLANE: unset one of them"
    for name in etcd kube-apiserver kubectl; do
        [[ -x $KUBEBUILDER_ASSETS/$name ]] \
            || die "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no $name: add it, or unset the variable to build everything"
    done
    (cd "$KUBEBUILDER_ASSETS" && pwd)
    exit
fi

newest=$(pinned "$here")
module=$here
if [[ -n ${CONTROLPLANE:-} && $newest != "v$CONTROLPLANE".* ]]; then
    module=$here/$CONTROLPLANE
    [[ -f $module/go.mod ]] \
        || die "there is no $module/go.mod: CONTROLPLANE is ${newest%.*} without its v, or a folder's name ($(cd "$here" && echo 1.*))"
    shared=$(CONTROLPLANE='' "$here/build.sh")
fi
version=$(pinned "$module")
packages=(k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager)
[[ -n ${shared:-} ]] || packages+=(go.etcd.io/etcd/server/v3 k8s.io/kubernetes/cmd/kubectl)

target=$(cd "$here/../.." && pwd)/.cache/controlplane/$(key "$module/go.mod" "$module/go.sum")
kept=(server kube-apiserver kube-controller-manager kubectl) # etcd's package is called server
begin

say "building $version with $have; this is done once and takes some minutes"
linked="-s -w"
for variable in k8s.io/component-base/version.gitVersion k8s.io/client-go/pkg/version.gitVersion; do
    linked+=" -X $variable=$version" # kubectl refuses to print a version that is not set
done
flags=(-ldflags "$linked")
cd "$module"
build "$work/kept/" "${packages[@]}"
if [[ -n ${shared:-} ]]; then cp "$shared"/{server,kubectl} "$work/kept/"; fi
finish
