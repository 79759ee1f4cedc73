"""Measures one engine as its load rises: requests arrive at random times, at five rates.

    python curves.py URL MODEL FOLDER [SECONDS]

The capacity is measured first, by a burst. Then each rate lasts for SECONDS (60), from half of the
capacity to above it, and the next one begins when the engine is idle. FOLDER/NAME.csv has a line for
each request: its arrival, its lengths, the time to its first token and the mean time between its
tokens. FOLDER/NAME.gauges.csv has the running and the waiting requests once a second, as the
engine's metrics page has them. NAME is the rate as percents of the capacity. FOLDER/about.json says
what was measured, when and where.
"""

import asyncio
import csv
import datetime
import json
import math
import os
import random
import re
import sys
import time
from pathlib import Path

import aiohttp

SHARES = [50, 70, 90, 110, 130]  # percents of the capacity
BURST = 80  # requests at once, which measure the capacity
PROMPT, ANSWER = (800, 0.6, 2500), (60, 0.5, 400)  # tokens: mean, sigma of the logarithm, most
WORDS = 512  # the size of the tiny model's vocabulary
GAUGE = re.compile(r"^vllm:num_requests_(running|waiting)\{[^}]*\} (\S+)$", re.MULTILINE)
LONGEST = 300  # seconds without a byte, after which an answer is given up


def length(mean: float, sigma: float, most: int) -> int:
    """Draws a length with this mean."""
    drawn = math.exp(random.gauss(math.log(mean) - sigma * sigma / 2, sigma))
    return min(most, max(2, round(drawn)))


def arrivals(rate: float, seconds: float) -> list[tuple[float, int, int]]:
    """Draws requests that arrive independently of each other: time, prompt and answer tokens."""
    at, drawn = random.expovariate(rate), []
    while at < seconds:
        drawn.append((round(at, 4), length(*PROMPT), length(*ANSWER)))
        at += random.expovariate(rate)
    return drawn


def body(model: str, prompt_tokens: int, tokens: int) -> bytes:
    """Returns the body of a request. Prompts have nothing in common that could be cached."""
    prompt = [random.randrange(1, WORDS) for _ in range(prompt_tokens)]
    fields = {"model": model, "prompt": prompt, "max_tokens": tokens}
    return json.dumps(fields | {"ignore_eos": True, "temperature": 0, "stream": True}).encode()


async def send(session, url: str, sent_at: float, request: bytes, tokens: int) -> list[float]:
    """Sends one request at its time. Returns its time to the first token, and between tokens."""
    await asyncio.sleep(max(0.0, sent_at - time.monotonic()))
    headers = {"content-type": "application/json"}
    first = last = None
    async with session.post(f"{url}/v1/completions", data=request, headers=headers) as answer:
        answer.raise_for_status()
        async for line in answer.content:
            if line.startswith(b"data: {"):
                last = time.monotonic()
                first = first or last
    return [round(first - sent_at, 4), round((last - first) / (tokens - 1), 5)]


async def read_gauges(session, url: str, start: float, found: list[list]) -> None:
    """Reads the gauges once a second, until it is cancelled."""
    while True:
        await asyncio.sleep(1.0 - (time.monotonic() - start) % 1.0)
        async with session.get(f"{url}/metrics") as answer:
            now = time.monotonic()
            page = dict(GAUGE.findall(await answer.text()))
        running, waiting = (int(float(page[name])) for name in ("running", "waiting"))
        found.append([round(now - start, 3), running, waiting])


async def measure(session, url: str, model: str, rows: list) -> tuple[list[list], list[list]]:
    """Sends the requests, and returns what became of each, and the gauges."""
    requests = [body(model, *lengths) for _, *lengths in rows]
    start, found = time.monotonic() + 0.5, []
    reader = asyncio.create_task(read_gauges(session, url, start, found))
    sent = (send(session, url, start + row[0], it, row[2]) for row, it in zip(rows, requests))
    answers = await asyncio.gather(*sent)
    reader.cancel()
    return [[*row, *answer] for row, answer in zip(rows, answers)], found


def write(file: Path, head: str, rows: list[list]) -> None:
    """Writes a table."""
    with file.open("w", newline="") as out:
        table = csv.writer(out, lineterminator="\n")
        table.writerow(head.split(","))
        table.writerows(rows)


def processor() -> str:
    """Returns the name of the CPU, as Linux has it."""
    name = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores of {name[1]}"


async def about(session, url: str, capacity: float) -> dict:
    """Returns what is measured, when and where."""
    async with session.get(f"{url}/version") as answer:
        version = (await answer.json())["version"]
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    step = float(os.environ.get("STEP_SECONDS", "0.03"))
    return {
        "date": today,
        "version": version,
        "machine": processor(),
        "stepSeconds": step,
        "capacity": round(capacity, 3),
    }


async def main(url: str, model: str, folder: Path, seconds: float) -> None:
    random.seed(1)
    limits = aiohttp.ClientTimeout(total=None, sock_read=LONGEST)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=limits, connector=connector) as session:
        for _ in range(3):  # the first requests of a process are slow
            await send(session, url, time.monotonic(), body(model, 500, 20), 20)
        burst = [(0.0, length(*PROMPT), length(*ANSWER)) for _ in range(BURST)]
        answers, _ = await measure(session, url, model, burst)
        capacity = BURST / max(ttft + itl * (tokens - 1) for _, _, tokens, ttft, itl in answers)
        print(f"the capacity is {capacity:.2f} requests/s", file=sys.stderr, flush=True)
        text = json.dumps(await about(session, url, capacity), indent=2)
        (folder / "about.json").write_text(text + "\n")
        for share in SHARES:
            rows = arrivals(capacity * share / 100, seconds)
            answers, found = await measure(session, url, model, rows)
            head = "arrival_s,input_tokens,output_tokens,ttft_s,itl_s"
            write(folder / f"{share}.csv", head, answers)
            write(folder / f"{share}.gauges.csv", "second,running,waiting", found)
            print(f"{share} %: {len(rows)} requests", file=sys.stderr, flush=True)


if __name__ == "__main__":
    length_of_run = float(sys.argv[4]) if len(sys.argv) > 4 else 60.0
    asyncio.run(main(sys.argv[1].rstrip("/"), sys.argv[2], Path(sys.argv[3]), length_of_run))
