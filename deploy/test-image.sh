#!/usr/bin/env bash
# Checks an image archive, and scales a StatefulSet on the testbed with the binary in it.
#
#   deploy/test-image.sh target/image/llm-autoscaler-VERSION-linux-amd64.tar
#
# It needs buildah, jq, openssl and readelf.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
what="test of the image"
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"
# shellcheck source=deploy/version.sh
. "$root/deploy/version.sh"

archive=$(realpath "${1:?an image archive}")
for tool in buildah jq openssl readelf; do
    command -v "$tool" >/dev/null || die "there is no '$tool' in PATH (on Debian: apt-get install buildah jq openssl binutils)"
done
cd "$root"
work=$(realpath -m "${CARGO_TARGET_DIR:-target}")/image-test
rm -rf "$work"
mkdir -p "$work/layout" "$work/content"
server=
clean_up() {
    if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; fi
    rm -rf "$work"
}
trap clean_up EXIT

# is NAME FOUND EXPECTED, has NAME TEXT PART
is() { if [[ $2 == "$3" ]]; then say "ok: $1"; else die "$1: found '$2' instead of '$3'"; fi; }
has() { if [[ $2 == *"$3"* ]]; then say "ok: $1"; else die "$1: '$3' is not in: $2"; fi; }

tar -C "$work/layout" -xf "$archive"
blob() { echo "$work/layout/blobs/${1/://}"; }
digest=$(jq -r '.manifests[0].digest' "$work/layout/index.json")
is "the digest beside the archive" "$(cat "${archive%.tar}.digest")" "$digest"
config=$(blob "$(jq -r .config.digest "$(blob "$digest")")")
setting() { jq -r "$1" "$config"; }
is "the user" "$(setting .config.User)" "65532:65532"
is "the command" "$(setting '(.config.Entrypoint + .config.Cmd) | join(" ")')" "/llm-autoscaler run"
is "the version of the label" "$(setting '.config.Labels["org.opencontainers.image.version"]')" "$version"
is "the commit of the label" "$(setting '.config.Labels["org.opencontainers.image.revision"]')" "$revision"
is "the time" "$(date -d "$(setting .created)" +%s)" "$time"

for layer in $(jq -r '.layers[].digest' "$(blob "$digest")"); do tar -C "$work/content" -xzf "$(blob "$layer")"; done
files=$(cd "$work/content" && find . -type f | sort | tr '\n' ' ')
is "the files" "$files" "./LICENSE ./THIRD-PARTY-NOTICES.md ./etc/ssl/certs/ca-certificates.crt ./llm-autoscaler "
is "what others may write" "$(cd "$work/content" && find . -perm /022)" ""
is "the owners" "$(tar -tv --numeric-owner -zf "$(blob "$(jq -r '.layers[-1].digest' "$(blob "$digest")")")" | awk '{ print $2 }' | sort -u)" "0/0"
bin=$work/content/llm-autoscaler
is "shared libraries" "$(readelf -d "$bin" | grep -c NEEDED || true)" 0
is "paths of this machine" "$(grep -c -a -e "$root" -e "${CARGO_HOME:-$HOME/.cargo}" "$bin" || true)" 0
is "--version" "$("$bin" --version)" "llm-autoscaler $version ($revision)"

# In the image itself, as its user: a page with a certificate that no authority has signed.
printf '[req]\ndistinguished_name = name\n[name]\n' >"$work/openssl.cnf"
openssl req -config "$work/openssl.cnf" -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=engine \
    -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
port=$((20000 + RANDOM % 10000))
cp tests/fixtures/engines/vllm-0.15.1-busy.txt "$work/metrics"
(cd "$work" && exec openssl s_server -accept "127.0.0.1:$port" -key key.pem -cert cert.pem -WWW >/dev/null 2>&1) &
server=$!
store=(--storage-driver vfs --root "$work/store" --runroot "$work/run")
container=$(buildah "${store[@]}" from "oci:$work/layout")
probe() { buildah "${store[@]}" run --isolation chroot "$@" -- /llm-autoscaler probe "https://127.0.0.1:$port/metrics" 2>&1 || true; }
for _ in $(seq 50); do
    if (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then break; fi
    sleep 0.1
done
has "a server is checked against the authorities in the image" "$(probe "$container")" UnknownIssuer
mounted=$(probe --volume "$work/cert.pem:/etc/ssl/certs/ca-certificates.crt:ro" "$container")
has "a file that is mounted in their place is trusted" "$mounted" WaitingRequests

say "scaling a StatefulSet by the binary of the image"
LLM_AUTOSCALER_BIN=$bin "${CARGO:-cargo}" test --locked -p llm-autoscaler-e2e --test e2e -- queue_grows_and_goes
