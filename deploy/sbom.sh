#!/usr/bin/env bash
# Prints the bill of materials of the binary for one target, as CycloneDX in JSON.
#
#   deploy/sbom.sh x86_64-unknown-linux-musl
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
what="bill of materials"
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"
# shellcheck source=deploy/version.sh
. "$root/deploy/version.sh"

triple=${1:?a target, such as x86_64-unknown-linux-musl}
tool_version=0.5.9
tool=${CARGO_CYCLONEDX_ROOT:-$root/.cache/cargo-cyclonedx-$tool_version}
if [[ ! -x $tool/bin/cargo-cyclonedx ]]; then
    say "installing cargo-cyclonedx $tool_version; this is done once"
    "${CARGO:-cargo}" install --locked --version "$tool_version" --root "$tool" cargo-cyclonedx >&2
fi

# The tool writes a file beside each manifest of the workspace, so it works in a copy.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
(cd "$root" && cp -R Cargo.toml Cargo.lock rust-toolchain.toml crates tests "$work/src")
(
    cd "$work/src"
    SOURCE_DATE_EPOCH=$time PATH=$tool/bin:$PATH "${CARGO:-cargo}" cyclonedx --quiet --manifest-path crates/cli/Cargo.toml \
        --describe binaries --target "$triple" --format json --spec-version 1.5 >&2
) || die "cargo-cyclonedx failed; the reason is above"
# The copy's path is in the names of our own packages.
sed "s|file://$work/src|file:///llm-autoscaler|g" "$work/src/crates/cli/llm-autoscaler_bin.cdx.json"
