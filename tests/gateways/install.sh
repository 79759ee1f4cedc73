#!/usr/bin/env bash
# Installs two gateways: Shepherd Model Gateway (smg) and vLLM's router. Prints the folder of the
# virtual environment as the only line on standard output; everything else goes to standard error.
#
# The first run downloads 65 MB and takes some ten seconds. The result is kept in .cache/gateways; from
# then on the script prints its path at once. Nothing is written elsewhere, so removing that folder
# removes everything. PYTHON selects the interpreter.
set -euo pipefail
# shellcheck source=tests/gateways/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
unset PYTHONPATH PYTHONHOME
python=${PYTHON:-python3}
free_mb=350 # the environment, 230 MB, and the downloads, which pip keeps until it has unpacked all of them

is_done() { [[ -e $venv/.complete ]]; }
if is_done; then echo "$venv"; exit; fi

check_machine() {
    local libc version free
    [[ $(uname -sm) == "Linux x86_64" ]] || die "these gateways are for Linux on x86-64, this is $(uname -sm): use emulated engines"
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || echo "another C library")
    [[ $libc =~ ^glibc\ 2\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 28)) \
        || die "the packages need glibc 2.28 or newer, this system has $libc: use a newer distribution, or emulated engines"
    command -v "$python" >/dev/null || die "there is no '$python' in PATH: install Python 3.11 to 3.13, or set PYTHON to one"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "'$python' does not run: set PYTHON to a Python 3.11 to 3.13"
    case $version in
        3.11 | 3.12 | 3.13) ;;
        *) die "the packages are fixed for Python 3.11 to 3.13, and '$python' is $version: set PYTHON to such a one" ;;
    esac
    "$python" -c 'import venv, ensurepip' 2>/dev/null || die "'$python' cannot make virtual environments: install its venv module (on Debian: python3-venv)"
    free=$(df -Pm "$cache" | awk 'NR == 2 { print $4 }')
    ((free >= free_mb)) || die "it needs $free_mb MB of disk while it installs, and $cache has $free MB free"
}
mkdir -p "$cache"
check_machine

# One installation runs at a time; a script that has waited finds the result of the other.
exec 9>"$cache/install.lock"
if ! flock -n 9; then
    say "another process is installing it, waiting"
    flock 9
    if is_done; then echo "$venv"; exit; fi
fi

started=$SECONDS
export TMPDIR=$cache/tmp # what pip downloads: on the disk that was checked
trap 'rm -rf "$cache/tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
rm -rf "$venv" "$TMPDIR" # what an interrupted run left: an environment cannot be moved, so it is made in its place
mkdir "$TMPDIR"

# Runs a step; its output, such as pip's progress, goes to standard error.
step() {
    say "$1"
    shift
    "$@" 9>&- >&2 </dev/null || die "this failed: $*; the reason is above"
}
step "1/3 virtual environment in ${venv#"$root/"}" "$python" -m venv "$venv"
step "2/3 downloading and unpacking $(grep -c '^[a-z].*==' "$here/requirements.lock") packages, 65 MB" \
    "$venv/bin/python" -m pip install --no-deps --no-cache-dir --disable-pip-version-check --only-binary :all: --require-hashes -r "$here/requirements.lock"
step "3/3 trying them: printing their options" \
    env HOME="$TMPDIR" bash -c 'set -o pipefail; for program in "smg launch" vllm-router; do "$0"/$program --help | tail -n 1; done' "$venv/bin"
mkdir "$venv/home"
touch "$venv/.complete"
say "installed in $((SECONDS - started))s"
echo "$venv"
