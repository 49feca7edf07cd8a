"""Many clients at once for some minutes: no stream lost or mixed up, memory flat.

    python benchmarks/serve_soak.py FILE.gguf [--clients 200] [--seconds 120] [--json FILE]

Every client sends a marker of its own and wants it back at the beginning of its stream (`echo`), a
schema makes every second client's answer name its marker again through the model itself, and every
stream must end with its counts. Resident memory of the server and its engine is read every second;
flat means that the median of the last quarter is at most 5 % above that of the second. Exit code 1
when a stream was lost or mixed up, or memory grew.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
from serve_throughput import ours

FLAT = 1.05


def resident(process: int) -> float:
    """Megabytes of a process and its children."""
    listed = subprocess.run(
        ["ps", "-o", "rss=", "--pid", str(process), "--ppid", str(process)],
        capture_output=True,
        text=True,
    )
    return sum(int(line) for line in listed.stdout.split()) / 1e3


def wanted(marker: str, chat: bool) -> tuple[str, dict[str, Any]]:
    """A route and a body whose answer holds the marker."""
    common = {"model": "m", "stream": True, "stream_options": {"include_usage": True}}
    if not chat:
        return "/v1/completions", common | {"prompt": marker, "echo": True, "max_tokens": 8}
    return "/v1/chat/completions", common | {
        "messages": [{"role": "user", "content": f"Repeat {marker}"}],
        "max_tokens": 48,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "m", "schema": {"const": marker}},
        },
    }


async def one(http: httpx2.AsyncClient, place: str, marker: str, chat: bool) -> str:
    """How one stream went: "right", or what was wrong."""
    route, body = wanted(marker, chat)
    text, counted, done = "", False, False
    try:
        async with http.stream("POST", place + route, json=body) as reply:
            if reply.status_code == 429:
                return "told to wait"
            if reply.status_code != 200:
                return f"status {reply.status_code}"
            async for line in reply.aiter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data: "):
                    event = json.loads(line[6:])
                    counted = counted or bool(event.get("usage"))
                    for choice in event.get("choices", ()):
                        text += choice.get("text") or choice.get("delta", {}).get("content") or ""
    except httpx2.TransportError as error:
        return f"lost: {type(error).__name__}"
    if not (done and counted):
        return "ended early"
    found = text.strip() == json.dumps(marker) if chat else text.startswith(marker)
    return "right" if found else "mixed up"


async def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: collections.Counter[str] = collections.Counter()
    memory: list[float] = []
    async with ours(options.file, options.slots) as (place, headers, server):
        limits = httpx2.Limits(max_connections=options.clients)
        async with httpx2.AsyncClient(headers=headers, timeout=300, limits=limits) as http:
            end = time.monotonic() + options.seconds

            async def client(number: int) -> None:
                turn = 0
                while time.monotonic() < end:
                    marker = f"<{number:03d}-{turn:04d}>"
                    results[await one(http, place, marker, bool(number % 2))] += 1
                    turn += 1

            async def watch() -> None:
                while time.monotonic() < end:
                    memory.append(resident(server))
                    await asyncio.sleep(1)

            await asyncio.gather(watch(), *[client(n) for n in range(options.clients)])
    quarter = max(1, len(memory) // 4)
    early = statistics.median(memory[quarter : 2 * quarter] or memory)
    late = statistics.median(memory[-quarter:])
    found = {
        "clients": options.clients,
        "seconds": options.seconds,
        "streams": dict(results),
        "megabytes": {"second quarter": early, "last quarter": late, "ratio": late / early},
    }
    print(", ".join(f"{count} {name}" for name, count in results.most_common()))
    print(f"memory: {early:.0f} MB, then {late:.0f} MB: {late / early:.3f}x")
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if set(results) - {"right", "told to wait"} or late > FLAT * early:
        sys.exit(1)


if __name__ == "__main__":
    asyncio.run(main())
