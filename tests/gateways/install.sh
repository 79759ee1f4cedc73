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
# shellcheck source=tests/lib/venv.sh
. "$root/tests/lib/venv.sh"

packages_of="these gateways are"
glibc=28
free_mb=350 # the environment, 230 MB, and the downloads, which pip keeps until it has unpacked all of them
begin

step "1/3 virtual environment in ${venv#"$root/"}" make_venv
step "2/3 downloading and unpacking $(count_packages) packages, 65 MB" install_lock --require-hashes
step "3/3 trying them: printing their options" \
    env HOME="$TMPDIR" bash -c 'set -o pipefail; for program in "smg launch" vllm-router; do "$0"/$program --help | tail -n 1; done' "$venv/bin"
mkdir "$venv/home"
touch "$venv/.complete"
finish
