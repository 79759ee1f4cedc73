#!/usr/bin/env bash
# Installs vLLM for CPUs, and creates a tiny model for it. Prints the folder of the virtual
# environment as the only line on standard output; everything else goes to standard error.
#
# The first run downloads 1.2 GB and takes some two minutes. The result is kept in .cache/vllm; from
# then on the script prints its path at once. Nothing is written elsewhere, so removing that folder
# removes everything. PYTHON selects the interpreter.
set -euo pipefail
# shellcheck source=tests/vllm/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
unset PYTHONPATH PYTHONHOME
python=${PYTHON:-python3}
peak_mb=4300 # the environment, 3.1 GB, and the downloads, which pip keeps until it has unpacked all of them
free_mb=4800

is_done() { [[ -e $venv/.complete && -d $model ]]; }
if is_done; then echo "$venv"; exit; fi

check_machine() {
    local libc flags flag version tool free
    [[ $(uname -sm) == "Linux x86_64" ]] || die "this build of vLLM is for Linux on x86-64, this is $(uname -sm): use emulated engines"
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null || echo "another C library")
    [[ $libc =~ ^glibc\ 2\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 34)) \
        || die "the packages need glibc 2.34 or newer, this system has $libc: use a newer distribution, or emulated engines"
    flags=$(grep -m1 '^flags' /proc/cpuinfo || true)
    for flag in avx2 f16c; do # what its kernels use; AVX-512 is not needed
        [[ " $flags " == *" $flag "* ]] || die "this build of vLLM is compiled for CPUs with AVX2 and F16C, and this one has no $flag: use emulated engines"
    done
    command -v "$python" >/dev/null || die "there is no '$python' in PATH: install Python 3.11 to 3.13, or set PYTHON to one"
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || die "'$python' does not run: set PYTHON to a Python 3.11 to 3.13"
    case $version in
        3.11 | 3.12 | 3.13) ;;
        *) die "the packages are fixed for Python 3.11 to 3.13, and '$python' is $version: set PYTHON to such a one" ;;
    esac
    "$python" -c 'import venv, ensurepip' 2>/dev/null || die "'$python' cannot make virtual environments: install its venv module (on Debian: python3-venv)"
    for tool in gcc readelf; do
        command -v $tool >/dev/null || die "there is no '$tool' in PATH, which builds the stand-ins of the CUDA libraries: install gcc and binutils"
    done
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
job=
cleanup() {
    if [[ -n $job ]]; then kill "$job" 2>/dev/null || true; fi
    rm -rf "$cache/tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
export TMPDIR=$cache/tmp # what pip downloads: on the disk that was checked
rm -rf "$TMPDIR"
mkdir "$TMPDIR"

progress() { echo "vLLM: $what: $(du -sm "$cache/tmp" "$venv" 2>/dev/null | awk '{ sum += $1 } END { print sum }') of $peak_mb MB on disk at most, $((SECONDS - started))s"; }

# Runs a command with its output in the log, and reports its progress.
run() {
    what=$1
    shift
    say "$what"
    "$@" >>"$cache/install.log" 2>&1 </dev/null 9>&- &
    job=$!
    local next=$((SECONDS + 10))
    while kill -0 "$job" 2>/dev/null; do
        sleep 0.5
        ((SECONDS >= next)) || continue
        if [[ -t 2 ]]; then printf '\r%s' "$(progress)" >&2; else progress >&2; fi
        next=$((SECONDS + $([[ -t 2 ]] && echo 2 || echo 10)))
    done
    if [[ -t 2 ]]; then printf '\r\e[K' >&2; fi
    local status=0
    wait "$job" || status=$?
    job=
    if ((status != 0)); then
        tail -n 30 "$cache/install.log" >&2
        die "could not do this: $what; its last messages are above, all of them in $cache/install.log"
    fi
}

install_packages() {
    local packages
    packages=$(grep -c '^[^#]' "$here/requirements.lock")
    rm -rf "$venv" # what an interrupted run left: an environment cannot be moved, so it is made in its place
    run "1/4 virtual environment in ${venv#"$root/"}" "$python" -m venv "$venv"
    run "2/4 downloading and unpacking $packages packages, 1.2 GB" \
        "$venv/bin/python" -m pip install --no-deps --no-cache-dir --only-binary :all: --progress-bar off -r "$here/requirements.lock"
    run "3/4 building stand-ins for the CUDA libraries" \
        "$venv/bin/python" "$here/cuda_stub.py" "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')"
    run "4/4 trying it: importing vLLM" \
        env HOME="$TMPDIR" VLLM_NO_USAGE_STATS=1 "$venv/bin/python" -c 'import vllm._C; from vllm.entrypoints.openai import api_server'
    touch "$venv/.complete"
}

: >"$cache/install.log"
if [[ ! -e $venv/.complete ]]; then install_packages; fi
if [[ ! -d $model ]]; then
    run "making the tiny model" "$venv/bin/python" "$here/tiny_model.py" "$TMPDIR/model"
    mv "$TMPDIR/model" "$model"
fi
say "installed in $((SECONDS - started))s"
echo "$venv"
