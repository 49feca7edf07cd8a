"""The process that holds llama.cpp: started with its settings on stdin, it prints its address and
lives until stdin closes. When it dies the API lives on and starts another.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from langraft.serve.upstream import CALLS

SETTINGS: dict[str, Any] = {
    "context": 4_096,
    "slots": 4,
    "embeddings": False,
    "draft": None,
    "draft_tokens": 0,
    "socket": None,  # a path; else a port of 127.0.0.1
    # Prompts that lost their slot, kept for when their conversation goes on. llama.cpp's own limit
    # is 8,192: a server whose prompts never come back grows to that.
    "prompt_cache_mebibytes": 256,
}


def main() -> None:
    """Serve until the parent closes our stdin, however the parent ends."""
    settings = SETTINGS | json.loads(sys.stdin.readline())
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.n_ctx = settings["context"] * settings["slots"]
    params.n_parallel = settings["slots"]
    params.cache_ram_mib = settings["prompt_cache_mebibytes"]
    params.n_batch = max(2048, settings["context"]) if settings["embeddings"] else 2048
    if settings["embeddings"]:
        params.embedding = True
        params.n_ubatch = params.n_batch
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    if settings["draft"]:
        kinds = xllamacpp.common_speculative_type
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        params.speculative.draft.mparams.path = settings["draft"]
        params.speculative.draft.n_max = settings["draft_tokens"]
    params.api_keys = [settings["key"]]
    params.hostnames = [settings["socket"] or "127.0.0.1"]
    params.port = 0
    params.n_threads_http = settings["slots"] + CALLS
    params.use_jinja = True
    params.ui = False
    server = xllamacpp.Server(params)
    sys.stdout.write(json.dumps({"address": server.listening_address}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    main()
