#!/usr/bin/env bash
# Becomes the Dynamo worker of one pod: the mock engine, in vLLM's mode, for the model qwen3-32b. Its
# metrics page and /health are on POD_IP:PORT, Dynamo's "system port"; requests arrive through a
# frontend. After SIGTERM it still answers the requests in flight.
#
#   POD_IP PORT   the address of its page; PORT is at most 32767, as Dynamo requires
#   DYN_FILE_KV   the folder that all frontends and workers of one deployment share
#   VENV MODEL    the environment and the model, by default those of install.sh
#   arguments     further ones for dynamo.mocker, such as --engine-type sglang or --speedup-ratio 4
set -euo pipefail
# shellcheck source=tests/dynamo/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
become_pod
((PORT <= 32767)) || die "worker.sh got PORT $PORT, and Dynamo takes no system port above 32767"

export DYN_SYSTEM_HOST=$POD_IP DYN_SYSTEM_PORT=$PORT
# Without it /health always answers 503, because the mock engine registers no check of its own. (Dynamo
# logs that the variable is deprecated; it still works.)
export DYN_SYSTEM_USE_ENDPOINT_HEALTH_STATUS='["generate"]'
exec "$venv/bin/python" -m dynamo.mocker --model-path "$model" --model-name qwen3-32b \
    --engine-type vllm --max-num-seqs 8 --num-gpu-blocks-override 1024 --block-size 16 "$@"
