"""`vllm serve FOLDER --host .. --port .. --api-key .. --served-model-name .. ...` for tests: the
same command line and routes, our transformers engine behind them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import uvicorn

from langraft.serve.api import build_api
from langraft.serve.limits import Limits
from langraft.serve.local import TransformersEngine


def main() -> None:
    assert sys.argv[1] == "serve"
    given = dict(zip(sys.argv[3::2], sys.argv[4::2], strict=True))
    if (Path(sys.argv[2]) / "broken").exists():
        sys.exit(1)
    # What vLLM does besides: workers of its own, and a log that nobody may ever read.
    worker = subprocess.Popen(["sleep", "600"])
    Path(os.environ["WORKER"]).write_text(str(worker.pid))
    sys.stdout.write("log " * 100_000)
    sys.stdout.flush()
    engine = TransformersEngine(
        Path(sys.argv[2]), given["--served-model-name"], context=int(given["--max-model-len"])
    )
    app = build_api(engine, Limits(keys=(given["--api-key"],)))
    uvicorn.run(app, host=given["--host"], port=int(given["--port"]), log_level="error")


if __name__ == "__main__":
    main()
