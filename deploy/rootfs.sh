#!/usr/bin/env bash
# Builds the content of the image into a folder that does not exist yet: the static binary, the
# certificates of public authorities, and the licences.
#
#   deploy/rootfs.sh amd64 FOLDER
#   deploy/rootfs.sh arm64 FOLDER
#
# Two builds of a commit have the same content, wherever the folders are: paths in the binary are
# replaced, and the linker is that of the Rust toolchain. It needs rustup, make, and a C
# compiler with musl's headers for the C code of two packages. See docs/release.md.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
what="content of the image"
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"

arch=${1:?an architecture: amd64 or arm64}
out=$(realpath -m "${2:?a folder}")
cd "$root"
[[ ! -e $out ]] || die "$out exists already: remove it, or name another folder"
cargo_home=${CARGO_HOME:-$HOME/.cargo}
target=$(cd "$root" && realpath -m "${CARGO_TARGET_DIR:-target}")
sep=$'\x1f'

# Compilers and their headers, as Debian and Alpine have them.
case $arch in
    amd64) cpu=x86_64 packages=musl-tools lg_page=12 ;;
    arm64) cpu=aarch64 packages="gcc-aarch64-linux-gnu and musl-dev:arm64" lg_page=16 ;;
    *) die "no image is made for $arch: amd64 and arm64 are there" ;;
esac
triple=$cpu-unknown-linux-musl
variable=${triple//-/_}
if [[ $(uname -m) == "$cpu" ]]; then
    cc=musl-gcc packages=musl-tools headers=
else
    cc=$cpu-linux-gnu-gcc headers=/usr/include/$cpu-linux-musl
    [[ -e $headers/stdio.h ]] || die "there are no headers of musl in $headers: on Debian, install $packages"
fi
export "CC_$variable=$cc"
command -v "$cc" >/dev/null || die "there is no '$cc' in PATH: on Debian, install $packages"
headers=${headers:+ -nostdinc -isystem $headers -isystem $("$cc" -print-file-name=include)}
rustup target add "$triple" >&2 || die "the target $triple could not be added to the Rust toolchain; the reason is above"

export "CFLAGS_$variable=-ffile-prefix-map=$cargo_home=/cargo -ffile-prefix-map=$target=/target$headers"
export "CARGO_TARGET_${variable^^}_LINKER=rust-lld"
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=$root=/llm-autoscaler$sep--remap-path-prefix=$target=/target$sep--remap-path-prefix=$cargo_home=/cargo"
export CARGO_INCREMENTAL=0
# The pages and addresses that the allocator reckons with, which its build would ask this machine
# for. Kernels for arm64 have pages of 4, 16 or 64 KiB, and it has to reckon with the largest.
export JEMALLOC_SYS_WITH_LG_PAGE=$lg_page JEMALLOC_SYS_WITH_LG_VADDR=48
command -v make >/dev/null || die "there is no 'make' in PATH, which the allocator is built by"
unset RUSTFLAGS CFLAGS
say "building for $triple"
"${CARGO:-cargo}" build --locked --release --target "$triple" -p llm-autoscaler >&2 || die "the binary could not be built; the reason is above"

unset CARGO_ENCODED_RUSTFLAGS
"${CARGO:-cargo}" build --locked -p llm-autoscaler-ca-bundle >&2

work=$out.part
rm -rf "$work"
mkdir -p "$work/etc/ssl/certs"
install -m 0555 "$target/$triple/release/llm-autoscaler" "$work/llm-autoscaler"
"$target/debug/llm-autoscaler-ca-bundle" >"$work/etc/ssl/certs/ca-certificates.crt"
install -m 0444 LICENSE deploy/THIRD-PARTY-NOTICES.md "$work"
chmod 0444 "$work/etc/ssl/certs/ca-certificates.crt"
find "$work" -type d -exec chmod 0755 {} +
mv "$work" "$out"
