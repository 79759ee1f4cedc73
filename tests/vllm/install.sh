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
# shellcheck source=tests/lib/venv.sh
. "$root/tests/lib/venv.sh"

packages_of="this build of vLLM is"
glibc=34
peak_mb=4300 # the environment, 3.1 GB, and the downloads, which pip keeps until it has unpacked all of them
free_mb=4800

is_done() { [[ -e $venv/.complete && -d $model ]]; }

check_more() {
    local flags flag tool
    flags=$(grep -m1 '^flags' /proc/cpuinfo || true)
    for flag in avx2 f16c; do # what its kernels use; AVX-512 is not needed
        [[ " $flags " == *" $flag "* ]] || die "this build of vLLM is compiled for CPUs with AVX2 and F16C, and this one has no $flag: use emulated engines"
    done
    for tool in gcc readelf; do
        command -v $tool >/dev/null || die "there is no '$tool' in PATH, which builds the stand-ins of the CUDA libraries: install gcc and binutils"
    done
}

job=
clean_up() {
    if [[ -n $job ]]; then kill "$job" 2>/dev/null || true; fi
    rm -rf "$TMPDIR"
}
begin

progress() { echo "$what: $doing: $(du -sm "$cache/tmp" "$venv" 2>/dev/null | awk '{ sum += $1 } END { print sum }') of $peak_mb MB on disk at most, $((SECONDS - started))s"; }

# Runs a command with its output in the log, and reports its progress.
run() {
    doing=$1
    shift
    say "$doing"
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
        die "could not do this: $doing; its last messages are above, all of them in $cache/install.log"
    fi
}

install_packages() {
    run "1/4 virtual environment in ${venv#"$root/"}" make_venv
    run "2/4 downloading and unpacking $(count_packages) packages, 1.2 GB" install_lock --progress-bar off
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
finish
