#!/usr/bin/env bash
# Installs NVIDIA Dynamo with its mock engine only, and creates a tiny model for it. Prints the folder
# of the virtual environment as the only line on standard output; everything else goes to standard
# error.
#
# The first run downloads 90 MB and takes some ten seconds. The result is kept in .cache/dynamo; from
# then on the script prints its path at once. Nothing is written elsewhere, so removing that folder
# removes everything. PYTHON selects the interpreter.
set -euo pipefail
# shellcheck source=tests/dynamo/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
# shellcheck source=tests/lib/venv.sh
. "$root/tests/lib/venv.sh"

packages_of="these packages of Dynamo are"
glibc=28
free_mb=500 # the environment, 330 MB, and the downloads, which pip keeps until it has unpacked all of them
begin

step "1/4 virtual environment in ${venv#"$root/"}" make_venv
step "2/4 downloading and unpacking $(count_packages) packages, 90 MB" install_lock
step "3/4 making the model" \
    env PYTHONPATH="$root/tests/vllm" PYTHONDONTWRITEBYTECODE=1 "$venv/bin/python" "$here/mock_model.py" "$model"
step "4/4 trying it: importing Dynamo" \
    env HOME="$TMPDIR" "$venv/bin/python" -c 'import dynamo.frontend.main, dynamo.mocker.main'
mkdir "$venv/home"
touch "$venv/.complete"
finish
