"""`python -m langraft.arena.host VERB ...`: langraft for as long as whoever started it lives.

It ends itself when its stdin closes, which happens however the parent ends, kill -9 included.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def _follow() -> None:
    # Not sys.stdin: a reader blocked in its buffer would upset the interpreter's end.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    """Run the verb until the parent closes our stdin."""
    threading.Thread(target=_follow, daemon=True).start()
    sys.argv[0] = "langraft"
    runpy.run_module("langraft", run_name="__main__")


if __name__ == "__main__":
    main()
