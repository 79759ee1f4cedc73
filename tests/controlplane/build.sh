#!/usr/bin/env bash
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl from the versions that go.mod pins, and prints the
# folder that holds them as the only line on standard output. Everything else goes to standard error.
#
# Cold it takes some minutes; the result stays in .cache/controlplane/KEY, where KEY follows from go.mod and go.sum, and
# is printed at once from then on. Where KUBEBUILDER_ASSETS is set, its binaries are used instead and nothing is built.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(cd "$here/../.." && pwd)/.cache/controlplane
version=v1.37.2
packages=(
    go.etcd.io/etcd/server/v3
    k8s.io/kubernetes/cmd/kube-apiserver
    k8s.io/kubernetes/cmd/kube-controller-manager
    k8s.io/kubernetes/cmd/kubectl
)
binaries=(server kube-apiserver kube-controller-manager kubectl) # etcd's package is called server

say() { echo "control plane: $*" >&2; }
die() { say "$*"; exit 1; }

if [[ -n ${KUBEBUILDER_ASSETS:-} ]]; then
    for name in etcd kube-apiserver kubectl; do
        [[ -x $KUBEBUILDER_ASSETS/$name ]] \
            || die "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, which has no $name: add it, or unset the variable to build everything"
    done
    (cd "$KUBEBUILDER_ASSETS" && pwd)
    exit
fi

sha256() { if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi; }
key=$(cat "$here/go.mod" "$here/go.sum" | sha256 | cut -c1-12)
target=$cache/$key

is_built() {
    local name
    for name in "${binaries[@]}"; do [[ -x $target/$name ]] || return 1; done
}
if is_built; then echo "$target"; exit; fi

command -v go >/dev/null || die "building it needs Go 1.26 or newer, and there is no 'go' in PATH: install it from https://go.dev/dl"
have=$(cd / && GOTOOLCHAIN=local go env GOVERSION) # for example go1.26.8
[[ $have =~ ^go([0-9]+)\.([0-9]+) ]] || die "cannot read Go's version from '$have'"
((BASH_REMATCH[1] > 1 || BASH_REMATCH[2] >= 26)) || die "building it needs Go 1.26 or newer, this is $have: install it from https://go.dev/dl"

# One build at a time; whoever waited finds the result of the other.
mkdir -p "$cache"
exec 9>"$cache/$key.lock"
if ! flock -n 9; then
    say "another process is building it, waiting"
    flock 9
    if is_built; then echo "$target"; exit; fi
fi

work=$(mktemp -d "$cache/.build-$key.XXXXXX")
build=
cleanup() {
    if [[ -n $build ]]; then kill "$build" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cd "$here"
started=$SECONDS
say "building $version with $have into .cache/controlplane/$key; this is done once and takes some minutes"
# An upper bound: the build names only the packages that are not in Go's own cache yet.
total=$(go list -deps "${packages[@]}" 2>"$work/log" | wc -l) || { cat "$work/log" >&2; die "cannot list the packages to build"; }

flags="-s -w"
for variable in k8s.io/component-base/version.gitVersion k8s.io/client-go/pkg/version.gitVersion; do
    flags+=" -X $variable=$version" # kubectl refuses to print a version that is not set
done
mkdir "$work/bin"
go build -v -ldflags "$flags" -o "$work/bin/" "${packages[@]}" 2>"$work/log" 9>&- &
build=$!

elapsed() {
    local seconds=$((SECONDS - started))
    if ((seconds < 60)); then echo "${seconds}s"; else echo "$((seconds / 60))m$((seconds % 60))s"; fi
}
progress() { echo "control plane: $(wc -l <"$work/log" | tr -d ' ')/${total// /} packages, $(elapsed)"; }

next=$((SECONDS + 15))
while kill -0 "$build" 2>/dev/null; do
    sleep 1
    if [[ -t 2 ]]; then
        printf '\r%s' "$(progress)" >&2
    elif ((SECONDS >= next)); then
        progress >&2
        next=$((SECONDS + 15))
    fi
done
if [[ -t 2 ]]; then echo >&2; fi
if ! wait "$build"; then
    build=
    grep -v '^[a-z0-9./_-]*$' "$work/log" | tail -n 30 >&2 || true # without the names of packages that -v prints
    die "the build failed after $(elapsed); its messages are above"
fi
build=

rm -rf "$target"
mv "$work/bin" "$target"
say "built in $(elapsed)"
echo "$target"
