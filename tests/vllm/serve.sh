#!/usr/bin/env bash
# Becomes the vLLM engine of one pod, which serves the model qwen3-32b on POD_IP:PORT until SIGTERM.
#
#   POD_IP PORT   the address to serve on, and the only one
#   STEP_SECONDS  the duration of a step, by default 0.03; 0: as short as the CPU allows (slow_step.py)
#   VENV MODEL    the environment and the model, by default those of install.sh
#   arguments     further ones for vLLM
#
# vLLM runs several processes, which stay in the process group of this one. A SIGTERM to the group
# ends all of them: at once if there are no requests, else when the last one is answered. During its
# start that may take a minute, or need a SIGKILL.
set -euo pipefail
# shellcheck source=tests/vllm/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
[[ -n ${POD_IP:-} && -n ${PORT:-} ]] || die "serve.sh needs POD_IP and PORT in its environment, the address to serve on"
need_installed

export STEP_SECONDS=${STEP_SECONDS:-0.03}
unset PYTHONHOME
export PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 # for its plug-ins here
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 HF_HOME=$venv/home VLLM_CACHE_ROOT=$venv/home VLLM_CONFIG_ROOT=$venv/home
export VLLM_HOST_IP=127.0.0.1 GLOO_SOCKET_IFNAME=lo # of the engine's own connections
export OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind
export VLLM_CPU_KVCACHE_SPACE=1 # GiB, the least; the number of blocks below is what counts
export VLLM_ENGINE_READY_TIMEOUT_S=60 # for how long the server waits for an engine, even one that is gone
export TORCH_COMPILE_DISABLE=1 # else the first request waits half a minute for a compiler

slow=()
if [[ $STEP_SECONDS != 0 ]]; then slow=(--logits-processors slow_step:SlowStep); fi
exec "$venv/bin/python" -m vllm.entrypoints.openai.api_server \
    --host "$POD_IP" --port "$PORT" \
    --model "$model" --load-format dummy --served-model-name qwen3-32b \
    --max-model-len 4096 --max-num-seqs 8 --num-gpu-blocks-override 128 \
    --enforce-eager --disable-uvicorn-access-log \
    --worker-cls pod_worker.PodWorker --middleware drain.Drain "${slow[@]}" "$@"
