"""Sends requests to an engine at random times, and prints what its metrics pages say meanwhile.

    python record_pages.py http://127.9.0.1:18100 RATE SECONDS > pages.txt

Prompts have 100 to 1500 tokens, answers 40 to 160. The rate goes from a third of RATE requests a
second up to RATE and back, once in each two minutes. Of each page, one every three seconds, the
lines are printed by which the time of a step is learned, and those of the engine's own times
between tokens, after a line with the seconds since the start.
"""

import http.client
import json
import math
import random
import re
import sys
import threading
import time
from urllib.parse import urlsplit

FAMILIES = (
    "num_requests_running",
    "num_requests_waiting",
    "kv_cache_usage_perc",
    "cache_config_info",
    "iteration_tokens_total_count",
    "prompt_tokens_total",
    "prefix_cache_hits_total",
    "generation_tokens_total",
    "time_to_first_token_seconds_count",
    "request_success_total",
    "inter_token_latency_seconds_sum",
    "inter_token_latency_seconds_count",
)
CACHE = ("block_size", "engine", "num_gpu_blocks")
EVERY = 3.0
CYCLE = 120.0


def request(address: str, seed: int) -> None:
    """Sends one request, and waits for its answer."""
    draw = random.Random(seed)
    words = [f"w{draw.randrange(511):03}" for _ in range(draw.randrange(100, 1501))]
    body = {
        "model": "qwen3-32b",
        "prompt": " ".join(words),
        "max_tokens": draw.randrange(40, 161),
        "ignore_eos": True,
    }
    connection = http.client.HTTPConnection(address, timeout=120)
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status != 200:
        print(f"vLLM answered {answer.status}: {text[:200]!r}", file=sys.stderr)


def page(address: str) -> str:
    """Returns the chosen lines of the metrics page."""
    connection = http.client.HTTPConnection(address, timeout=10)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    chosen = tuple("vllm:" + family for family in FAMILIES)
    return "\n".join(trimmed(line) for line in lines if line.startswith(chosen))


def trimmed(line: str) -> str:
    """Returns a line; of the cache's many labels only those that are read."""
    name, separator, rest = line.partition("{")
    if name != "vllm:cache_config_info":
        return line
    labels = re.findall(r'([a-z_]+)="([^"]*)"', rest)
    kept = ",".join(f'{label}="{value}"' for label, value in labels if label in CACHE)
    return f"{name}{separator}{kept}}} {rest.rsplit(' ', 1)[1]}"


def record(address: str, seconds: float, begun: float) -> None:
    """Prints a page every few seconds."""
    while (now := time.monotonic()) < begun + seconds:
        text = page(address)
        print(f"# at {now - begun:.3f}\n{text}", flush=True)
        time.sleep(max(0.0, now + EVERY - time.monotonic()))


def main() -> None:
    url, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    address = urlsplit(url).netloc
    begun = time.monotonic()
    recorder = threading.Thread(target=record, args=(address, seconds, begun))
    recorder.start()
    draw, seed = random.Random(21), 0
    while (now := time.monotonic() - begun) < seconds:
        share = (2 - math.cos(now / CYCLE * 2 * math.pi)) / 3
        time.sleep(draw.expovariate(rate * share))
        seed += 1
        threading.Thread(target=request, args=(address, seed), daemon=True).start()
    recorder.join()


main()
