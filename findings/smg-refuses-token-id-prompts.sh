#!/usr/bin/env bash
# Shepherd Model Gateway (smg) 1.13.0, the router before vLLM and SGLang.
#
# Expected: `prompt` of POST /v1/completions may be a text, a list of texts, a list of token IDs or a
#   list of such lists, as the reference of OpenAI's API says; a gateway passes all of them on, and
#   vLLM and SGLang answer them.
# Observed: the two forms with token IDs are refused with 400 (`invalid_type`, "data did not match any
#   variant of untagged enum StringOrArray") before a worker is chosen. Texts pass: without a worker
#   they get 404 `model_not_found`.
# So a load generator that sends token IDs, as benchmarks with random tokens do, measures errors only,
#   and a target that is scaled by the gateway's gauges sees no load.
# In this project: `make test-gateways` sends texts.
#
# Exit status: 0 the surprise exists, 1 it does not, 2 it could not be tried.
set -euo pipefail

version=1.13.0
folder=$(mktemp -d)
gateway=
finish() {
    [[ -z $gateway ]] || { kill "$gateway" 2>/dev/null && wait "$gateway" 2>/dev/null; } || true
    rm -rf "$folder"
}
trap finish EXIT
cannot() { echo "cannot be tried: $*" >&2; exit 2; }

command -v curl >/dev/null || cannot "there is no curl"
python3 -m venv "$folder/venv" || cannot "python3 cannot make a virtual environment"
"$folder/venv/bin/pip" install --quiet "smg==$version" || cannot "smg $version cannot be installed"

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
port=$(free_port) metrics=$(free_port) nothing=$(free_port)
"$folder/venv/bin/smg" launch --host 127.0.0.1 --port "$port" --prometheus-host 127.0.0.1 \
    --prometheus-port "$metrics" --worker-urls "http://127.0.0.1:$nothing" >"$folder/log" 2>&1 &
gateway=$!

status() {
    curl --silent --output "$folder/answer" --write-out '%{http_code}' --max-time 5 \
        --header 'Content-Type: application/json' --data "{\"model\":\"m\",\"prompt\":$1}" \
        "http://127.0.0.1:$port/v1/completions" || true
}
for _ in $(seq 60); do
    [[ $(status '"a"') == 000 ]] || break
    kill -0 "$gateway" 2>/dev/null || cannot "smg has ended: $(tail -1 "$folder/log")"
    sleep 0.5
done

echo "smg $version: POST /v1/completions without a worker"
declare -A expected=(['"a b"']=404 ['["a b", "c"]']=404 ['[1, 2, 3]']=400 ['[[1, 2], [3]]']=400)
is_same=0
for prompt in '"a b"' '["a b", "c"]' '[1, 2, 3]' '[[1, 2], [3]]'; do
    found=$(status "$prompt")
    echo "  prompt $prompt: $found $(head -c 160 "$folder/answer")"
    [[ $found == "${expected[$prompt]}" ]] || is_same=1
done
((is_same == 0)) || { echo "the behaviour has changed"; exit 1; }
echo "token IDs are refused, texts are not"
