"""Tokens a second and time to the first byte: our API against xllamacpp's own server.

    python benchmarks/serve_throughput.py FILE.gguf [--clients 1,4,16] [--tokens 48] [--json FILE]

Both run the same worker process with the same settings and 16 slots, and wait beside each other
while the other is asked: in each of `--rounds` rounds either answers every number of clients, who
stream one completion after another, each over a connection of its own, since xllamacpp's server
closes kept ones under a client that uses them. A round's ratio is taken by itself, and the median
of the rounds is what is said, so that other work on the machine weighs on both sides. Processor
time a token is that of the server and its engine together.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import os
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
async def ours(file: Path, slots: int) -> AsyncIterator[tuple[str, dict[str, str], int]]:
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
        yield place, {}, process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.asynccontextmanager
async def direct(file: Path, slots: int) -> AsyncIterator[tuple[str, dict[str, str], int]]:
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
        yield place, headers, process.pid
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


def processor_seconds(process: int) -> float:
    """Processor time so far of a process and its children."""
    children = [
        child
        for path in Path(f"/proc/{process}/task").glob("*/children")
        for child in path.read_text().split()
    ]
    ticks = 0
    for one_of in (process, *children):
        fields = Path(f"/proc/{one_of}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass
class Side:
    """One of the two servers, and what was seen of it."""

    http: httpx2.AsyncClient
    place: str
    process: int
    spent: dict[int, list[float]] = dataclasses.field(default_factory=dict)
    rates: dict[int, list[float]] = dataclasses.field(default_factory=dict)
    firsts: list[float] = dataclasses.field(default_factory=list)

    async def load(self, count: int, tokens: int, each: int) -> None:
        """Let `count` clients stream `each` completions; keep the tokens a second and the
        milliseconds of processor time a token.
        """

        async def client() -> list[tuple[int, float]]:
            return [await one(self.http, self.place, tokens) for _ in range(each)]

        started, before = time.perf_counter(), processor_seconds(self.process)
        answers = await asyncio.gather(*[client() for _ in range(count)])
        seconds = time.perf_counter() - started
        made = sum(n for done in answers for n, _ in done)
        self.rates.setdefault(count, []).append(made / seconds)
        spent = processor_seconds(self.process) - before
        self.spent.setdefault(count, []).append(1e3 * spent / made)
        if count == 1:
            self.firsts += [first for done in answers for _, first in done]


async def compare(
    file: Path, clients: list[int], tokens: int, each: int, rounds: int
) -> tuple[Side, Side]:
    """Our side and the direct one, after all rounds."""
    async with contextlib.AsyncExitStack() as stack:
        sides = []
        for server in (ours, direct):
            place, headers, process = await stack.enter_async_context(server(file, max(clients)))
            http = httpx2.AsyncClient(headers=headers, timeout=300, limits=FRESH)
            sides.append(Side(await stack.enter_async_context(http), place, process))
            await one(sides[-1].http, place, 4)
        for number in range(rounds):
            for count in clients:
                for side in sides if number % 2 else sides[::-1]:
                    await side.load(count, tokens, each)
        return sides[0], sides[1]


async def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", default="1,4,16")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--each", type=int, default=2, help="completions of every client")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    clients = [int(word) for word in options.clients.split(",")]
    mine, peer = await compare(options.file, clients, options.tokens, options.each, options.rounds)
    found: dict[str, Any] = {}
    for count in clients:
        a, b = mine.rates[count], peer.rates[count]
        ratios = [x / y for x, y in zip(a, b, strict=True)]
        spent = [statistics.median(side.spent[count]) for side in (mine, peer)]
        found[f"{count} clients"] = {
            "ours": a,
            "direct": b,
            "ratio": statistics.median(ratios),
            "processor_ms_a_token": spent,
        }
        print(
            f"{count} clients: {statistics.median(a):.1f} tokens/s against "
            f"{statistics.median(b):.1f}: {statistics.median(ratios):.3f}x "
            f"({min(ratios):.3f} to {max(ratios):.3f}); processor time a token {spent[0]:.2f} ms "
            f"against {spent[1]:.2f}"
        )
    if 1 in clients:
        a, b = (statistics.median(side.firsts) * 1e3 for side in (mine, peer))
        found["first byte"] = {"ours_ms": a, "direct_ms": b, "more_ms": a - b}
        print(f"first text: {a:.1f} ms against {b:.1f} ms: {a - b:+.1f} ms")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
