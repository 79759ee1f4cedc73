#!/usr/bin/env bash
# Makes what a release consists of: images, chart, manifests, bills of materials, notes, checksums.
#
#   deploy/release.sh [FOLDER]        default: target/release-VERSION
#
# ARCHS lists the architectures of images ("amd64 arm64"). IMAGE is the name under which the images
# will be pushed, without a tag; install.yaml and the chart name it. docs/release.md has every step
# of a release.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
what=release
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"
# shellcheck source=deploy/version.sh
. "$root/deploy/version.sh"
cd "$root"
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
out=$(realpath -m "${1:-$target/release-$version}")
image=${IMAGE:-llm-autoscaler}

[[ $image != *:* || $image == *:*/* ]] || die "IMAGE is $image: name the image without a tag, the tag is $version"
case $revision in
    unknown) die "this is no Git checkout: set LLM_AUTOSCALER_REVISION to the commit that is released" ;;
    *-dirty) die "there are changes that are not committed, and a release names a commit: commit or stash them (git status)" ;;
esac

# notes VERSION: prints the changelog's section of a version.
notes() {
    awk -v heading="## [$1]" '
        index($0, heading) == 1 { inside = 1; next }
        /^## / { inside = 0 }
        /^\[[^]]*\]: / { next }
        inside { print }
    ' CHANGELOG.md | sed -e '/./,$!d'
}

rm -rf "$out.part"
mkdir -p "$out.part"
notes "$version" >"$out.part/notes.md"
if [[ ! -s $out.part/notes.md ]]; then
    # A rehearsal: the version has no section before it is released.
    [[ -n ${REHEARSAL:-} ]] || die "CHANGELOG.md has no section [$version]: rename [Unreleased], or set REHEARSAL=1 to take that one"
    notes Unreleased >"$out.part/notes.md"
fi

for arch in ${ARCHS:-amd64 arm64}; do
    case $arch in amd64) cpu=x86_64 ;; arm64) cpu=aarch64 ;; *) die "no image is made for $arch" ;; esac
    archive=$(deploy/image.sh "$arch")
    cp "$archive" "${archive%.tar}.digest" "$out.part"
    deploy/sbom.sh "$cpu-unknown-linux-musl" >"$out.part/llm-autoscaler-$version-linux-$arch.cdx.json"
done

# The objects name the image as it will be pushed.
grep -q "^ *image: llm-autoscaler:$version\$" deploy/install.yaml \
    || die "deploy/install.yaml does not name the image llm-autoscaler:$version: set newTag in config/manager/kustomization.yaml, and run 'make crds'"
sed "s|^\( *\)image: llm-autoscaler:$version\$|\1image: $image:$version|" deploy/install.yaml >"$out.part/install.yaml"
cp crds/*.yaml LICENSE deploy/THIRD-PARTY-NOTICES.md "$out.part"

chart=deploy/helm/llm-autoscaler
if [[ -e $chart/Chart.yaml ]]; then
    helm=${HELM:-$(tests/packaging/build.sh)/helm}
    command -v "$helm" >/dev/null || die "there is no '$helm', which packs the chart: install Helm 4 and set HELM to its path"
    work=$out.part/chart
    mkdir -p "$work/content"
    "$helm" package --version "$version" --app-version "$version" --destination "$work" "$chart" >&2
    # Helm's archive has the time at which it was made; packed anew, two are equal.
    tar -C "$work/content" -xzf "$work/llm-autoscaler-$version.tgz"
    sed -i "s|^\( *repository:\) llm-autoscaler *\$|\1 $image|" "$work/content/llm-autoscaler/values.yaml"
    (cd "$work/content" && archive . "$work/chart.tar" llm-autoscaler)
    gzip --no-name --best <"$work/chart.tar" >"$out.part/llm-autoscaler-$version.tgz"
    rm -rf "$work"
else
    say "there is no chart in $chart: the release has none"
fi

(cd "$out.part" && for file in *; do printf '%s  %s\n' "$(sha256 <"$file" | cut -d' ' -f1)" "$file"; done >"$out.sums")
mv "$out.sums" "$out.part/SHA256SUMS"
rm -rf "$out"
mv "$out.part" "$out"
say "everything is in $out"
(cd "$out" && ls -l) >&2
