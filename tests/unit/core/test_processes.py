from __future__ import annotations

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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows of such ends")
def test_a_process_ends_with_the_one_that_started_it_and_was_killed() -> None:
    """It holds the pipe open as long as it lives."""
    lines = (
        "import subprocess",
        "from langraft.core.processes import ends_with_us",
        "process = subprocess.Popen(ends_with_us(['sh', '-c', 'echo started; exec sleep 600']))",
        "process.wait()",
    )
    with subprocess.Popen([sys.executable, "-c", ";".join(lines)], stdout=subprocess.PIPE) as ours:
        assert ours.stdout is not None
        assert ours.stdout.readline() == b"started\n"
        ours.kill()
        assert ours.communicate(timeout=60)[0] == b""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows of such ends")
def test_a_process_whose_starter_is_gone_already_does_not_begin() -> None:
    command = ends_with_us(["echo", "begun"])
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"begun\n"
    orphan = [*command[:3], "1", *command[4:]]
    assert subprocess.run(orphan, capture_output=True, check=True).stdout == b""
