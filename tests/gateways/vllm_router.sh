#!/usr/bin/env bash
# Becomes vLLM's router in one pod: the API on POD_IP:PORT, metrics on POD_IP:29000, until SIGTERM. Its
# workers are the pods that it finds in the API server. The variables are those of smg.sh; arguments
# are further ones for `vllm-router`.
set -euo pipefail
# shellcheck source=tests/gateways/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
become_pod
exec "$venv/bin/vllm-router" --host "$POD_IP" --port "$PORT" \
    --prometheus-host "$POD_IP" --prometheus-port 29000 "${discovery[@]}" "$@"
