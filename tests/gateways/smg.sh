#!/usr/bin/env bash
# Becomes Shepherd Model Gateway (smg) in one pod: the API on POD_IP:PORT, metrics on POD_IP:29000,
# until SIGTERM. Its workers are the pods that it finds in the API server.
#
#   POD_IP PORT     the address to serve on
#   POD_NAMESPACE   the namespace of the workers
#   WORKERS         the label of the workers' pods, such as app=engine; their port is PORT too
#   KUBECONFIG      the API server
#   arguments       further ones for `smg launch`
set -euo pipefail
# shellcheck source=tests/gateways/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
become_pod
exec "$venv/bin/smg" launch --host "$POD_IP" --port "$PORT" \
    --prometheus-host "$POD_IP" --prometheus-port 29000 "${discovery[@]}" "$@"
