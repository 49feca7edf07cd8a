"""Other programs that we start."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

# prctl(PR_SET_PDEATHSIG, SIGTERM) outlives exec; util-linux's setpriv knows it since 2.33 only.
TIE = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 15)
if os.getppid() == int(sys.argv[1]):  # else it is gone already
    os.execvp(sys.argv[2], sys.argv[2:])
"""


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
    included; elsewhere as it is.
    """
    tied = [sys.executable, "-ISc", TIE, str(os.getpid())] if sys.platform == "linux" else []
    return [*tied, *command]
