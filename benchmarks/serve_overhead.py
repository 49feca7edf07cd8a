"""Processor time that our API takes for a streamed token, and for a request.

    python benchmarks/serve_overhead.py [--streams 16] [--tokens 150] [--gap 40] [--json FILE]

An engine that computes nothing sends a token to every stream each `--gap` milliseconds, as
llama.cpp does, through the same socket; our API passes them on to clients in a third process. What
is counted is the processor time of the API's process alone. Requests of one token tell what a
request costs beside its tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from langraft.serve.api import build_api
from langraft.serve.http import bind, configured
from langraft.serve.llama import LlamaEngine
from langraft.serve.upstream import Upstream

READY_SECONDS = 60


def pretend(place: str, streams: int, tokens: int, gap: float) -> None:
    """Answer every request on the socket `place`; streams begin when all have come."""
    waiting: list[asyncio.StreamWriter] = []

    def send(writer: asyncio.StreamWriter, event: dict[str, Any]) -> None:
        line = f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(line), line))

    async def burst(writers: list[asyncio.StreamWriter]) -> None:
        counts = {"tokens_evaluated": 3, "tokens_predicted": tokens}
        for _ in range(tokens):
            for writer in writers:
                send(writer, {"content": "中", "tokens": [1234], "stop": False, **counts})
            await asyncio.sleep(gap / 1e3)
        for writer in writers:
            send(writer, {"content": "", "stop": True, "stop_type": "limit", **counts})
            writer.write(b"0\r\n\r\n")
            writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        waiting.append(writer)
        if len(waiting) == streams:
            await burst([waiting.pop() for _ in range(streams)])

    async def forever() -> None:
        await (await asyncio.start_unix_server(answer, place)).serve_forever()

    asyncio.run(forever())


def ask(port: int, streams: int, tokens: int) -> None:
    """Stream so many completions at a time, and print how many events came."""
    body = {"model": "m", "prompt": "x", "max_tokens": tokens, "stream": True}
    content = json.dumps(body).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )

    async def one() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + content)
        found = await reader.read()
        writer.close()
        return found.count(b"data: {")

    async def crowd() -> int:
        return sum(await asyncio.gather(*[one() for _ in range(streams)]))

    print(asyncio.run(crowd()))


class Reached(LlamaEngine):
    """Our engine in front of a server that runs already."""

    def __init__(self, place: Path) -> None:
        """`place` is its socket."""
        self.name, self.context, self.slots, self.embeddings = "m", 100_000, 256, False
        self.place = place

    async def start(self) -> None:
        """Connect."""
        self._upstream = Upstream(self.place, "k")

    async def stop(self) -> None:
        """Nothing is ours."""


async def measure(port: int, streams: int, tokens: int) -> float:
    """Microseconds of our processor time a token; of three times the median."""
    found = []
    for _ in range(3):
        words = ("--ask", str(port), "--streams", str(streams), "--tokens", str(tokens))
        started = time.process_time()
        client = await asyncio.create_subprocess_exec(
            sys.executable, __file__, *words, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await client.communicate()
        assert int(said) == streams * (tokens + 1), said
        found.append(1e6 * (time.process_time() - started) / (streams * tokens))
    return sorted(found)[1]


async def compared(streams: int, tokens: int, gap: float) -> float:
    """The same with the pretended engine and our API around it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "s"
        words = ("--pretend", str(place), "--streams", str(streams), "--tokens", str(tokens))
        engine = await asyncio.create_subprocess_exec(
            sys.executable, __file__, *words, "--gap", str(gap)
        )
        server = configured(build_api(Reached(place)))
        with bind("127.0.0.1", 0) as listener:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
            thread.start()
            limit = time.monotonic() + READY_SECONDS
            while not (server.started and place.exists()):
                assert time.monotonic() < limit
                await asyncio.sleep(0.1)
            try:
                return await measure(listener.getsockname()[1], streams, tokens)
            finally:
                server.should_exit = True
                await asyncio.to_thread(thread.join)
                with contextlib.suppress(ProcessLookupError):
                    engine.kill()
                await engine.wait()


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--gap", type=float, default=40)
    parser.add_argument("--pretend", help="be the engine on this socket")
    parser.add_argument("--ask", type=int, help="be the clients of this port")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.pretend:
        return pretend(options.pretend, options.streams, options.tokens, options.gap)
    if options.ask:
        return ask(options.ask, options.streams, options.tokens)
    token = asyncio.run(compared(options.streams, options.tokens, options.gap))
    request = asyncio.run(compared(40, 1, 0))
    print(f"{options.streams} streams: {token:.0f} µs a token; {request:.0f} µs a request")
    if options.json:
        found = {"streams": options.streams, "token_us": token, "request_us": request}
        options.json.write_text(json.dumps(found) + "\n")
    return None


if __name__ == "__main__":
    main()
