"""Other programs that we start."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Sequence


def end_session(leader: int) -> None:
    """End what a process that is gone has started and left behind: vLLM's workers outlive it, with
    their memory.

    Args:
        leader: its id; it was started with `start_new_session`, so that its group is its own.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def ends_with_us(command: Sequence[str]) -> list[str]:
    """The command, asked by Linux to end (SIGTERM) when the thread that starts it does, `kill -9`
    included; as it is where util-linux's `setpriv` is missing.
    """
    setpriv = shutil.which("setpriv")
    return [*([setpriv, "--pdeathsig", "TERM"] if setpriv else []), *command]
