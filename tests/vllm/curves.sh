#!/usr/bin/env bash
# Starts one engine, measures it at five rates of arrivals (curves.py) into FOLDER, and stops it.
#
#   STEP_SECONDS=0.03 curves.sh FOLDER [SECONDS of each rate]
set -euo pipefail
# shellcheck source=tests/vllm/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
folder=${1:-}
[[ -n $folder ]] || die "curves.sh needs a folder for what it measures"
mkdir -p "$folder"
need_installed

log=$(mktemp)
export POD_IP=${POD_IP:-127.9.0.77} PORT=${PORT:-18177}
url=http://$POD_IP:$PORT
setsid "$here/serve.sh" --max-num-batched-tokens 2048 >"$log" 2>&1 &
engine=$!
# vLLM's processes are in the group of the first one, which is a session of its own.
stop() {
    kill -TERM -- "-$engine" 2>/dev/null || true
    for _ in {1..40}; do
        if ! kill -0 -- "-$engine" 2>/dev/null; then
            rm -f "$log"
            return 0
        fi
        sleep 0.25
    done
    kill -KILL -- "-$engine" 2>/dev/null || true
    rm -f "$log"
}
trap stop EXIT

for _ in {1..240}; do
    if curl -sf -o /dev/null "$url/health"; then break; fi
    if ! kill -0 "$engine" 2>/dev/null; then
        tail -20 "$log" >&2
        die "the engine has ended before it was ready; its last lines are above"
    fi
    sleep 0.5
done
unset PYTHONPATH PYTHONHOME
"$venv/bin/python" "$here/curves.py" "$url" qwen3-32b "$folder" "${2:-60}"
