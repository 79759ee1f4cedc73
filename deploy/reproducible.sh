#!/usr/bin/env bash
# Builds the image of HEAD once more, from a clone in another folder, and compares the two archives.
#
#   deploy/reproducible.sh amd64
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
what="second build"
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"

arch=${1:?an architecture: amd64 or arm64}
cd "$root"
unset LLM_AUTOSCALER_REVISION SOURCE_DATE_EPOCH
[[ -z $(git status --porcelain) ]] || die "there are changes that are not committed, which a clone does not have: commit or stash them"
first=$(deploy/image.sh "$arch")
clone=$(mktemp -d)
trap 'rm -rf "$clone"' EXIT
git clone --quiet "file://$root" "$clone/another-folder"
second=$(cd "$clone/another-folder" && CARGO_TARGET_DIR=$clone/output deploy/image.sh "$arch")
for archive in "$first" "$second"; do
    say "$(cat "${archive%.tar}.digest"), archive $(sha256 <"$archive" | cut -d' ' -f1)"
done
cmp "$first" "$second" || die "the archives are different"
say "the archives are equal"
