#!/usr/bin/env bash
# Sends the demo's load to a base URL by vLLM's own benchmark: 400 prompts of 1500 tokens, 100 output
# tokens each, 20 requests in flight. Prints its summary, and fails unless every request succeeded.
#
#   bench.sh http://127.0.0.1:8000 [--num-prompts 50 ...]
#
# Further arguments are passed to `vllm bench serve` after the script's own, so they override these.
# RESULT names a JSON file for the result, with every request in it.
set -euo pipefail
# shellcheck source=tests/vllm/paths.sh
. "$(dirname "${BASH_SOURCE[0]}")/paths.sh"
url=${1:-}
[[ $url == http* ]] || die "bench.sh needs the base URL to send requests to, such as http://127.0.0.1:8000"
shift
need_installed

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 HF_HOME=$venv/home VLLM_CACHE_ROOT=$venv/home VLLM_CONFIG_ROOT=$venv/home
unset PYTHONPATH PYTHONHOME

# A range ratio of 0 gives every prompt the same length. (vLLM's older benchmark used 1 for that.)
"$venv/bin/vllm" bench serve --backend openai --base-url "${url%/}" --model qwen3-32b --tokenizer "$model" \
    --dataset-name random --random-input-len 1500 --random-output-len 100 --random-range-ratio 0 \
    --num-prompts 400 --max-concurrency 20 --seed 0 --ignore-eos \
    --save-result --save-detailed --result-dir "$work" --result-filename result.json "$@"

[[ -s $work/result.json ]] || die "the benchmark of $url left no result: its messages are above"
if [[ -n ${RESULT:-} ]]; then cp "$work/result.json" "$RESULT"; fi
"$venv/bin/python" - "$work/result.json" <<'PYTHON'
import collections, json, sys

result = json.load(open(sys.argv[1]))
if result["completed"] != result["num_prompts"]:
    # An error is a traceback; its last line has the cause.
    causes = collections.Counter(error.strip().splitlines()[-1] for error in result["errors"] if error.strip())
    for cause, times in causes.most_common(5):
        print(f"vLLM: {times} times: {cause}", file=sys.stderr)
    sys.exit(f"vLLM: {result['completed']} of {result['num_prompts']} requests succeeded")
PYTHON
