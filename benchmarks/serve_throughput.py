"""Tokens a second and time to the first byte: our API against xllamacpp's own server.

    python benchmarks/serve_throughput.py FILE.gguf [--clients 1,4,16] [--tokens 48] [--json FILE]

Both run the same worker process with the same settings and 16 slots, one after the other and in
alternation, `--rounds` times; every client streams one completion after another, each over a
connection of its own, since xllamacpp's server closes kept ones under a client that uses them. The
first byte's difference is that of the medians with one client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2

from langraft.serve.worker import SETTINGS

PROMPT = "第一条 为了保护公民、法人和其他组织的合法权益，"
READY_SECONDS = 120
FRESH = httpx2.Limits(max_keepalive_connections=0)


@contextlib.asynccontextmanager
async def ours(file: Path, slots: int) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """`langraft serve`, as a user starts it."""
    command = [sys.executable, "-m", "langraft", "serve", str(file), "--port", "0", "--name", "m"]
    process = subprocess.Popen(
        [*command, "--slots", str(slots), "--context", "512"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    while "/v1)" not in said:
        line = process.stderr.readline()
        assert line, said
        said += line.strip()
    place = said.split("(API:")[1].strip().removesuffix("/v1)")
    try:
        await ready(place, {})
        yield place, {}
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def direct(file: Path, slots: int) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """xllamacpp's server, in the same process that our engine uses."""
    settings = SETTINGS | {"model": str(file), "context": 512, "slots": slots, "key": "k"}
    process = subprocess.Popen(
        [sys.executable, "-m", "langraft.serve.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.flush()
    place = json.loads(process.stdout.readline())["address"]
    headers = {"Authorization": "Bearer k"}
    try:
        await ready(place, headers)
        yield place, headers
    finally:
        process.stdin.close()
        process.wait()


async def ready(place: str, headers: dict[str, str]) -> None:
    """Wait for /health."""
    limit = time.monotonic() + READY_SECONDS
    async with httpx2.AsyncClient(headers=headers) as http:
        while time.monotonic() < limit:
            with contextlib.suppress(httpx2.TransportError):
                if (await http.get(f"{place}/health")).status_code == 200:
                    return
            await asyncio.sleep(0.1)
    raise SystemExit(f"{place}: not ready after {READY_SECONDS} s")


async def one(http: httpx2.AsyncClient, place: str, tokens: int) -> tuple[int, float]:
    """Tokens of one streamed completion, and seconds to its first text."""
    body = {
        "model": "m",
        "prompt": PROMPT,
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logit_bias": {"2": -100, "0": -100},
    }
    started, first, count = time.perf_counter(), 0.0, 0
    async with http.stream("POST", f"{place}/v1/completions", json=body) as reply:
        assert reply.status_code == 200, await reply.aread()
        async for line in reply.aiter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            first = first or time.perf_counter() - started
            count = (event.get("usage") or {}).get("completion_tokens", count)
    return count, first


async def load(server: Any, file: Path, clients: list[int], tokens: int, each: int) -> Any:
    """Tokens a second by number of clients, and the median time to the first text with one."""
    found: dict[int, float] = {}
    firsts: list[float] = []
    async with (
        server(file, max(clients)) as (place, headers),
        httpx2.AsyncClient(headers=headers, timeout=300, limits=FRESH) as http,
    ):

        async def client() -> list[tuple[int, float]]:
            return [await one(http, place, tokens) for _ in range(each)]

        await one(http, place, 4)
        for count in clients:
            started = time.perf_counter()
            answers = await asyncio.gather(*[client() for _ in range(count)])
            seconds = time.perf_counter() - started
            found[count] = sum(n for done in answers for n, _ in done) / seconds
            if count == 1:
                firsts = [first for done in answers for _, first in done]
    return found, statistics.median(firsts) if firsts else None


async def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--each", type=int, default=3, help="completions of every client")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clients = [int(word) for word in options.clients.split(",")]
    runs: dict[str, list[Any]] = {"ours": [], "direct": []}
    for number in range(options.rounds):
        pair = [("ours", ours), ("direct", direct)]
        for name, server in pair if number % 2 else pair[::-1]:
            runs[name].append(
                await load(server, options.file, clients, options.tokens, options.each)
            )
    found: dict[str, Any] = {}
    for count in clients:
        mine, peer = (
            statistics.median(run[0][count] for run in runs[name]) for name in ("ours", "direct")
        )
        found[f"{count} clients"] = {"ours": mine, "direct": peer, "ratio": mine / peer}
        print(f"{count} clients: {mine:.1f} tokens/s against {peer:.1f}: {mine / peer:.3f}x")
    if 1 in clients:
        mine, peer = (
            statistics.median(run[1] for run in runs[name]) * 1e3 for name in ("ours", "direct")
        )
        found["first byte"] = {"ours_ms": mine, "direct_ms": peer, "more_ms": mine - peer}
        print(f"first text: {mine:.1f} ms against {peer:.1f} ms: {mine - peer:+.1f} ms")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
