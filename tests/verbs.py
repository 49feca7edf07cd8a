"""The command line as a user calls it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any


def langraft(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "langraft", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def answer(*args: object) -> dict[str, Any]:
    found = langraft(*args, "--json")
    assert found.returncode == 0, found.stderr
    return dict(json.loads(found.stdout.splitlines()[-1]))
