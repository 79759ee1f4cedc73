#!/usr/bin/env bash
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl from the versions that go.mod
# pins, and prints their folder as the only line on standard output. Everything else goes to
# standard error.
#
# The first build takes some minutes. The result is kept in .cache/controlplane/KEY, where KEY is a
# hash of go.mod and go.sum; from then on the script prints its path at once. If KUBEBUILDER_ASSETS
# is set, the binaries in that folder are used instead and nothing is built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="control plane"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
version=v1.37.2
packages=(
    go.etcd.io/etcd/server/v3
    k8s.io/kubernetes/cmd/kube-apiserver
    k8s.io/kubernetes/cmd/kube-controller-manager
    k8s.io/kubernetes/cmd/kubectl
)

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
    for name in etcd kube-apiserver kubectl; do
        [[ -x $KUBEBUILDER_ASSETS/$name ]] \
            || die "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no $name: add it, or unset the variable to build everything"
    done
    (cd "$KUBEBUILDER_ASSETS" && pwd)
    exit
fi

target=$(cd "$here/../.." && pwd)/.cache/controlplane/$(key "$here/go.mod" "$here/go.sum")
kept=(server kube-apiserver kube-controller-manager kubectl) # etcd's package is called server
begin

say "building $version with $have; this is done once and takes some minutes"
linked="-s -w"
for variable in k8s.io/component-base/version.gitVersion k8s.io/client-go/pkg/version.gitVersion; do
    linked+=" -X $variable=$version" # kubectl refuses to print a version that is not set
done
flags=(-ldflags "$linked")
cd "$here"
build "$work/kept/" "${packages[@]}"
finish
