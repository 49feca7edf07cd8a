from __future__ import annotations

import asyncio

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
            upstream = Upstream("127.0.0.1", server.sockets[0].getsockname()[1], "key")
            found = await asyncio.gather(*[upstream.call("GET", "/health") for _ in range(100)])
        assert found == [{}] * 100

    asyncio.run(crowd())
    assert 1 < most <= CALLS
