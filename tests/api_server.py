"""A real server on a real port, in a thread, for tests."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from fastapi import FastAPI

from langraft.serve.http import bind, configured


@contextlib.contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address at which `app` answers."""
    server = configured(app)
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        limit = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < limit
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(30)
