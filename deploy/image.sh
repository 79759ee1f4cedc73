#!/usr/bin/env bash
# Builds the image for one architecture as an OCI archive, and prints the archive's path as the only
# line on standard output.
#
#   deploy/image.sh amd64
#   deploy/image.sh arm64
#
# The archive and its digest file are in target/image. IMAGE_SOURCE is the URL of the sources, for
# the label of that name. It needs buildah 1.28 or newer, and what rootfs.sh needs.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
what=image
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"
# shellcheck source=deploy/version.sh
. "$root/deploy/version.sh"

arch=${1:?an architecture: amd64 or arm64}
command -v buildah >/dev/null || die "there is no 'buildah' in PATH: install it (on Debian: buildah), or build deploy/Containerfile with another tool"
cd "$root"
out=$(realpath -m "${CARGO_TARGET_DIR:-target}")/image
name=llm-autoscaler-$version-linux-$arch
work=$out/work-$arch
rm -rf "$work"
mkdir -p "$work/empty"
trap 'rm -rf "$work"' EXIT

LLM_AUTOSCALER_REVISION=$revision deploy/rootfs.sh "$arch" "$work/rootfs"

# A store of its own: nothing is left in that of the user.
store=(--storage-driver vfs --root "$work/store" --runroot "$work/run")
labels=()
[[ -z ${IMAGE_SOURCE:-} ]] || labels+=(--label "org.opencontainers.image.source=$IMAGE_SOURCE")
buildah "${store[@]}" bud --isolation chroot --platform "linux/$arch" \
    --build-context "rootfs=$work/rootfs" \
    --build-arg "VERSION=$version" --build-arg "REVISION=$revision" "${labels[@]}" \
    --timestamp "$time" --identity-label=false \
    -f deploy/Containerfile -t "llm-autoscaler:$version" "$work/empty" >&2
buildah "${store[@]}" push --quiet --digestfile "$out/$name.digest" \
    "llm-autoscaler:$version" "oci:$work/layout:llm-autoscaler:$version" >&2
archive "$work/layout" "$out/$name.tar" .
say "$(wc -c <"$out/$name.tar") bytes, $(cat "$out/$name.digest")"
echo "$out/$name.tar"
