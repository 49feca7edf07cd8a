"""How long a request's work may take, watched by one timer."""

from __future__ import annotations

import asyncio
from types import TracebackType

from langraft.serve.engine import EngineError


class Deadline:
    """Ends every wait of a request that is entered or lasts after its time is over.

    `with deadline:` stands around each wait by itself, since the task that reads a stream is not
    always the one that began it; a timer for every wait would cost each token more than its JSON.
    """

    def __init__(self, seconds: float) -> None:
        """The time is over in so many seconds; `close` stops the timer."""
        self._timer = asyncio.get_running_loop().call_later(seconds, self._strike)
        self._task: asyncio.Task[object] | None = None
        self._cancels = 0
        self._over = self._cancelled = False

    def close(self) -> None:
        """Nothing waits any more."""
        self._timer.cancel()

    def _strike(self) -> None:
        self._over = True
        if self._task is not None:
            self._cancelled = True
            self._task.cancel()

    def __enter__(self) -> None:
        """Raises EngineError (504) when the time is over."""
        if self._over:
            raise _late()
        self._task = asyncio.current_task()
        assert self._task is not None
        self._cancels = self._task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Raises EngineError (504) when it was the time that broke the wait off."""
        task, self._task = self._task, None
        if not self._cancelled:
            return
        self._cancelled = False
        assert task is not None
        # Somebody else may have cancelled the task as well: theirs is no matter of time.
        if task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
            raise _late() from error


def _late() -> EngineError:
    return EngineError("the answer took too long", 504, "timeout")
