#!/usr/bin/env bash
# Installs a headless browser, a font and the rules of accessibility (axe-core), all from npm at the versions
# of package-lock.json. Prints the folder as the only line on standard output; everything else goes to
# standard error.
#
# The first run downloads 90 MB and takes some ten seconds. The result is kept in .cache/ui; from then
# on the script prints its path at once. Nothing is written elsewhere, so removing that folder removes
# everything.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache=$root/.cache/ui
what="the browser of the page's tests"
# shellcheck source=tests/lib/say.sh
. "$root/tests/lib/say.sh"
target=$cache/$(key "$here"/{install.sh,package.json,package-lock.json})

if [[ -e $target/.complete ]]; then echo "$target"; exit; fi
[[ $(uname -sm) == "Linux x86_64" ]] || die "the browser is one for Linux on x86-64, this is $(uname -sm)"
command -v node >/dev/null && command -v npm >/dev/null || die "it needs Node.js 20 or newer with npm: install it from https://nodejs.org"
version=$(node --version) # for example v20.20.2
[[ $version =~ ^v([0-9]+) ]] && ((BASH_REMATCH[1] >= 20)) || die "it needs Node.js 20 or newer, this is $version"

mkdir -p "$cache"
exec 9>"$cache/install.lock"
flock 9
if [[ -e $target/.complete ]]; then echo "$target"; exit; fi
say "installing it from npm, 90 MB, once"
rm -rf "$target"
mkdir "$target"
cp "$here"/package{,-lock}.json "$target"
(cd "$target" && npm ci --no-audit --no-fund --ignore-scripts >&2)
mkdir "$target/browser"
# The package unpacks the browser into the folder for temporary files.
unpack='import("@sparticuz/chromium").then((it) => it.default.executablePath())'
(cd "$target" && TMPDIR=$target/browser node -e "$unpack") || die "the browser could not be unpacked"
cat >"$target/browser/fonts.conf" <<END
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>$target/node_modules/@expo-google-fonts/inter</dir>
  <cachedir>$target/browser/fonts-cache</cachedir>
</fontconfig>
END
"$target/browser/chromium" --version >&2 || die "the browser does not start: it needs the library NSS (on Debian: libnss3)"
touch "$target/.complete"
echo "$target"
