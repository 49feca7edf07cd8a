"""A program that speaks the part of vLLM's protocol that `VllmSampler` uses, over a real model
folder: `vllm serve FOLDER --port N ...` in development mode.

It is as strict as vLLM is: without the key it refuses, asleep it does not answer, and it reads the
folder again only when told to. Its answers are greedy.
"""

from __future__ import annotations

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

import torch
from transformers import AutoModelForCausalLM


class State:
    """The model in memory, what of it is awake, and everything that was asked."""

    def __init__(self, folder: str, log: Path) -> None:
        self.folder, self.log, self.lock = folder, log, Lock()
        self.awake = {"weights", "kv_cache"}
        self.load()

    def load(self) -> None:
        self.model: Any = AutoModelForCausalLM.from_pretrained(self.folder).eval()

    def note(self, path: str) -> None:
        with self.lock, self.log.open("a") as log:
            log.write(path + "\n")

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        (end,) = body["stop_token_ids"]
        ids = torch.tensor([body["prompt"]])
        with self.lock:
            whole = self.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=body["max_tokens"],
                eos_token_id=end,
                pad_token_id=end,
            )
        found = whole[0, ids.shape[1] :].tolist()
        choice = {"index": 0, "text": "", "finish_reason": "stop" if end in found else "length"}
        return {"choices": [choice | ({"token_ids": found} if body["return_token_ids"] else {})]}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    state: State
    key: str

    def do_GET(self) -> None:
        self.reply(200 if self.path == "/health" else 404, None)

    def do_POST(self) -> None:
        state, url = self.state, urlsplit(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
        if self.headers["Authorization"] != f"Bearer {self.key}":
            return self.reply(401, {"error": "Unauthorized"})
        state.note(self.path)
        asked = parse_qs(url.query)
        if url.path in ("/sleep", "/wake_up") and "--enable-sleep-mode" not in sys.argv:
            return self.reply(400, {"error": "this server never sleeps"})
        if url.path == "/sleep" and asked["level"] == ["2"]:
            state.awake.clear()
            state.model = None
        elif url.path == "/wake_up":
            state.awake.update(asked.get("tags", ["weights", "kv_cache"]))
        elif url.path == "/collective_rpc" and body["method"] == "reload_weights":
            if "weights" not in state.awake:
                return self.reply(500, {"error": "asleep"})
            state.load()
        elif url.path == "/v1/completions":
            if state.awake != {"weights", "kv_cache"} or body["model"] != "policy":
                return self.reply(400, {"error": f"asleep, or no model {body['model']}"})
            return self.reply(200, state.answer(body))
        elif url.path != "/reset_prefix_cache":
            return self.reply(404, {"error": url.path})
        return self.reply(200, None)

    def reply(self, status: int, body: Any) -> None:
        said = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server(ThreadingHTTPServer):
    """As patient with connections that come together as vLLM's own is."""

    request_queue_size = 512


def main() -> None:
    """Serve until ended."""
    options = dict(zip(sys.argv[3::2], sys.argv[4::2], strict=False))
    assert sys.argv[1] == "serve"
    assert os.environ["VLLM_SERVER_DEV_MODE"] == "1"
    torch.set_num_threads(1)
    Handler.state = State(sys.argv[2], Path(sys.argv[2]).with_name("asked.log"))
    Handler.key = options["--api-key"]
    server = Server((options["--host"], int(options["--port"])), Handler)
    server.serve_forever()


if __name__ == "__main__":
    main()
