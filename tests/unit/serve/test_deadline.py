from __future__ import annotations

import asyncio

import pytest

from langraft.serve.deadline import Deadline
from langraft.serve.engine import EngineError


def test_one_deadline_ends_the_wait_that_outlasts_it_and_all_later_ones() -> None:
    async def work() -> list[str]:
        deadline, seen = Deadline(0.05), []
        for _ in range(3):
            with deadline:
                await asyncio.sleep(0)
            seen.append("in time")
        for _ in range(2):
            with pytest.raises(EngineError, match="too long") as found, deadline:
                await asyncio.sleep(10)
            seen.append(str(found.value.status))
        await asyncio.sleep(0)  # the task itself goes on
        return seen

    assert asyncio.run(work()) == ["in time"] * 3 + ["504"] * 2


def test_waits_of_different_tasks_share_it() -> None:
    """The first text is waited for by the request's task, the others by the stream's."""

    async def wait(deadline: Deadline, seconds: float) -> None:
        with deadline:
            await asyncio.sleep(seconds)

    async def work() -> None:
        deadline = Deadline(0.05)
        await asyncio.create_task(wait(deadline, 0))
        with pytest.raises(EngineError, match="too long"):
            await asyncio.create_task(wait(deadline, 10))

    asyncio.run(work())


def test_a_task_that_somebody_else_cancels_is_cancelled() -> None:
    async def work() -> None:
        deadline = Deadline(10)

        async def wait() -> None:
            with deadline:
                await asyncio.sleep(10)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        deadline.close()

    asyncio.run(work())


def test_a_closed_deadline_never_strikes() -> None:
    async def work() -> list[str]:
        deadline, seen = Deadline(0.01), []
        deadline.close()
        for _ in range(2):  # neither in the first wait nor at the door of the second
            with deadline:
                await asyncio.sleep(0.03)
            seen.append("whole")
        return seen

    assert asyncio.run(work()) == ["whole"] * 2
