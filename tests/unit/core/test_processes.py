from __future__ import annotations

import subprocess

from langraft.core.processes import end_session


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
