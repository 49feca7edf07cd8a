from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from langraft.core.processes import end_session, ends_with_us


def test_what_a_killed_process_left_ends_and_the_end_of_the_pipe_shows_it() -> None:
    """`sleep` holds the pipe open as long as it lives; a second call finds nobody."""
    command = ["sh", "-c", "sleep 600 & echo started; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.kill()
        process.wait()
        end_session(process.pid)
        assert process.stdout.read() == b""
        end_session(process.pid)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="util-linux's setpriv is missing")
def test_a_process_ends_with_the_one_that_started_it_and_was_killed() -> None:
    """It holds the pipe open as long as it lives."""
    lines = f"import subprocess; subprocess.Popen({ends_with_us(['sleep', '600'])!r})"
    command = [sys.executable, "-c", f"{lines}; print('started', flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        process.kill()
        assert process.communicate(timeout=60) == (b"", None)
