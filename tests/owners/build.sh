#!/usr/bin/env bash
# Fetches the published CustomResourceDefinitions of model servers that own workloads, as modules.txt
# pins them, and prints the folder that has the folder crds as the only line on standard output.
# Everything else goes to standard error. Nothing is built.
#
# Each line of modules.txt is a Go module, its version, its checksum, and a file in it. The result is
# kept in .cache/owners/KEY, where KEY is a hash of modules.txt.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
what="CRDs of owners"
# shellcheck source=tests/lib/go.sh
. "$here/../lib/go.sh"
cd "$here"
target=$(cd ../.. && pwd)/.cache/owners/$(key modules.txt)
kept=(crds)
begin

mkdir "$work/kept/crds" "$work/module"
field() { sed -n "s/^[[:space:]]*\"$1\": \"\(.*\)\",*$/\1/p"; }
while read -r module version sum file; do
    found=$(cd "$work/module" && GOFLAGS=-mod=mod go mod download -json "$module@$version") ||
        die "cannot download $module@$version: $(field Error <<<"$found")"
    [[ $(field Sum <<<"$found") == "$sum" ]] || die "$module@$version has another checksum than modules.txt"
    # The originals in Go's module cache are read-only; the copies shall not be.
    cat "$(field Dir <<<"$found")/$file" >"$work/kept/crds/${file##*/}"
done <modules.txt
finish
