"""An engine in a process of its own: watched, and started again when it dies."""

from __future__ import annotations

import abc
import asyncio
import contextlib
from collections.abc import Sequence

from langraft.core.errors import RunFailed
from langraft.core.messages import warn
from langraft.core.processes import end_session
from langraft.serve.engine import EngineError
from langraft.serve.upstream import Upstream

START_SECONDS, STOP_SECONDS, PAUSE_SECONDS = 600.0, 5.0, 0.5


class ProcessEngine(abc.ABC):
    """What engines share that talk to a process; `_launch` is theirs.

    A request that the process dies under gets an error, the next one a new process.
    """

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._upstream: Upstream | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The engine's process, when it runs."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process and wait until the model is loaded.

        Raises:
            RunFailed: it does not come up.
        """
        self._upstream = await self._launch()
        self._watcher = asyncio.create_task(self._watch())

    @abc.abstractmethod
    async def _launch(self) -> Upstream:
        """Start the process with `_spawn` and return the way to it once it answers.

        Raises:
            RunFailed: it does not come up; it has been ended.
        """

    async def _spawn(
        self, command: Sequence[str], output: int = asyncio.subprocess.PIPE
    ) -> asyncio.subprocess.Process:
        """Run `command` in a session of its own; its stdin stays open.

        Args:
            output: where its stdout goes; a pipe must be read, or the process stops at a full one.
        """
        self._process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone, and streams can be finished
        )
        return self._process

    async def _watch(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            self._upstream = None
            end_session(self._process.pid)
            warn(f"the engine's process ended (code {code}); starting it again")
            await asyncio.sleep(PAUSE_SECONDS)
            with contextlib.suppress(RunFailed):
                self._upstream = await self._launch()

    async def stop(self) -> None:
        """End the process; what it was generating is lost."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        self._upstream = None
        await self._kill()

    async def _kill(self) -> None:
        if self._process is None:
            return
        if self._process.returncode is None:
            self._end(self._process)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        end_session(self._process.pid)

    def _end(self, process: asyncio.subprocess.Process) -> None:
        """Ask the process to go."""
        assert process.stdin is not None
        process.stdin.close()

    async def alive(self) -> bool:
        """Whether the process answers."""
        try:
            await self._server.call("GET", "/health")
        except EngineError:
            return False
        return True

    @property
    def _server(self) -> Upstream:
        if self._upstream is None:
            raise EngineError("the engine is starting, try again", 503, "engine_unavailable")
        return self._upstream
