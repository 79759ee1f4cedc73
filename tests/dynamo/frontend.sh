#!/usr/bin/env bash
# Becomes the Dynamo frontend of one pod, which serves the OpenAI API, /metrics and /health on
# POD_IP:PORT until SIGTERM. It sends requests in turn to the workers that it discovers, including
# later ones.
#
#   POD_IP PORT   the address to serve on, and the only one
#   DYN_FILE_KV   the folder that all frontends and workers of one deployment share
#   arguments     further ones for dynamo.frontend
#
# /health answers 200 at once; the model is usable when /v1/models lists it, which needs a worker.
set -euo pipefail
# shellcheck source=tests/dynamo/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
become_pod
exec "$venv/bin/python" -m dynamo.frontend --http-host "$POD_IP" --http-port "$PORT" "$@"
