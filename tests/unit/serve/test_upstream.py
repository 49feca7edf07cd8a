from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from langraft.serve.engine import EngineError
from langraft.serve.upstream import CALLS, Upstream


def test_a_crowd_of_calls_opens_few_connections() -> None:
    """More would overrun the few that llama.cpp's server lets wait, and end as errors."""
    opened, most = 0, 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened, most
        opened += 1
        most = max(most, opened)
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.01)
        opened -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def crowd() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            upstream = Upstream(server.sockets[0].getsockname(), "key")
            found = await asyncio.gather(*[upstream.call("GET", "/health") for _ in range(100)])
        assert found == [{}] * 100

    asyncio.run(crowd())
    assert 1 < most <= CALLS


async def streamed(tmp_path: Path, pieces: Sequence[bytes]) -> list[Mapping[str, Any]]:
    """The events of an answer that reaches a Unix socket in these pieces, then ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_unix_server(answer, tmp_path / "s")
    async with server:
        return [event async for event in Upstream(tmp_path / "s", "key").events("/x", {})]


EVENTS = 'data: {"content":"中"}\n\ndata: {"content":"\\n"}\n\ndata: [DONE]\n\n'.encode()
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def in_chunks(data: bytes, size: int) -> bytes:
    parts = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_events_are_the_same_however_they_are_cut(tmp_path: Path, size: int) -> None:
    """In chunks of the answer, and in what the socket gives at a time: inside a character too."""
    whole = HEAD + in_chunks(EVENTS, size) + b"0\r\n\r\n"
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    found = asyncio.run(streamed(tmp_path, pieces))
    assert found == [{"content": "中"}, {"content": "\n"}]


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", HEAD, HEAD + in_chunks(EVENTS, 9), b"SSH-2.0-x\r\n", HEAD + b"zz\r\n"],
)
def test_an_answer_that_breaks_off_or_is_none_is_an_error(tmp_path: Path, answer: bytes) -> None:
    with pytest.raises(EngineError, match="restarted") as found:
        asyncio.run(streamed(tmp_path, [answer]))
    assert found.value.status == 503


def test_a_refusal_says_what_the_server_said(tmp_path: Path) -> None:
    said = b'{"error":{"message":"too long","type":"exceed_context_size_error"}}'
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said)
    with pytest.raises(EngineError, match="too long") as found:
        asyncio.run(streamed(tmp_path, [answer]))
    assert (found.value.status, found.value.code) == (400, "context_length_exceeded")
