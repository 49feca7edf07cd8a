"""Other programs that we start."""

from __future__ import annotations

import contextlib
import os
import signal


def end_session(leader: int) -> None:
    """End what a process that is gone has started and left behind: vLLM's workers outlive it, with
    their memory.

    Args:
        leader: its id; it was started with `start_new_session`, so that its group is its own.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
