"""Answers sampled by vLLM, in a process and an environment of its own, whose weights are brought up
to date before every round through a folder.

The protocol is vLLM's own for reinforcement learning, from 0.10.2 on: `/sleep`, `/wake_up` and
`/collective_rpc` of a server in development mode, and `/v1/completions` from ids to ids.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np

from langraft.core.errors import BadInput, RunFailed
from langraft.core.processes import end_session, ends_with_us
from langraft.train.ranks import ALONE, Ranks

NAME = "policy"
START_SECONDS, POLL_SECONDS, ANSWER_SECONDS = 900.0, 0.5, 3_600.0
REQUESTS = 256  # at one time; vLLM batches them itself


@dataclasses.dataclass
class VllmSampler:
    """A vLLM server that answers with the policy's weights of the moment. On a GPU it sleeps
    between rounds, so that training has the device's memory.

    Attributes:
        program: the `vllm` command, a name on the path or a file.
        folder: where the policy lies for it.
        write: writes the policy as it is now into that folder; every rank calls it.
        end: the id that ends an answer.
        context: tokens of the longest prompt with its answer.
        sleeps: whether it is on a GPU; for a processor vLLM knows no sleep.
    """

    program: str
    folder: Path
    write: Callable[[Path], None]
    end: int
    new_tokens: int
    temperature: float
    context: int
    ranks: Ranks = ALONE
    sleeps: bool = True
    _server: _Server | None = dataclasses.field(default=None, repr=False)

    def __call__(self, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> list[list[int]]:
        """See `Sampler`; the lead asks for all.

        Raises:
            BadInput: there is no such command.
            RunFailed: the server does not come up, or fails.
        """
        said = np.zeros((len(prompts), self.new_tokens))
        self.write(self.folder)
        if self.ranks.lead:
            if self._server is None:
                self._server = _Server(self.program, self.folder, self.context, self.sleeps)
            else:
                self._server.take_new_weights()
            for n, ids in enumerate(
                self._server.answers(
                    [self._body(p, s) for p, s in zip(prompts, seeds, strict=True)]
                )
            ):
                said[n, : len(ids)] = np.add(ids, 1)
            self._server.sleep()
        said = self.ranks.together(said)
        return [[int(i) - 1 for i in row[row > 0]] for row in said]

    def _body(self, prompt: Sequence[int], seed: int) -> dict[str, Any]:
        return {
            "model": NAME,
            "prompt": list(prompt),
            "max_tokens": self.new_tokens,
            "temperature": self.temperature,
            "top_p": 1.0,
            "top_k": -1,
            "seed": seed,
            "stop_token_ids": [self.end],
            "return_token_ids": True,
        }


class _Server:
    """The process, started, and what it is asked."""

    def __init__(self, program: str, folder: Path, context: int, sleeps: bool) -> None:
        found = shutil.which(program)
        if found is None:
            raise BadInput(
                f"vllm: {program}: no such command; vLLM has an environment of its own: "
                "`python3 -m venv vllm && vllm/bin/pip install vllm`, then vllm: vllm/bin/vllm. "
                "Without the key the model that learns answers itself"
            )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._sleeps = sleeps
        self._address, self._key = f"http://127.0.0.1:{port}", secrets.token_hex(16)
        options = {
            "--host": "127.0.0.1",
            "--port": str(port),
            "--api-key": self._key,
            "--served-model-name": NAME,
            "--max-model-len": str(context),
        }
        words = [word for pair in options.items() for word in pair]
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the process)
        command = [found, "serve", str(folder), *words, *["--enable-sleep-mode"] * sleeps]
        self._process = subprocess.Popen(
            ends_with_us(command),
            env=os.environ | {"VLLM_SERVER_DEV_MODE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end, self._process, self._said)
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._call("/health")
                return
            time.sleep(POLL_SECONDS)
        said = self._last_words()
        self._end()
        raise RunFailed(f"vLLM did not come up; its last words: {said}")

    def _last_words(self) -> str:
        self._said.seek(0)
        return self._said.read().decode(errors="replace")[-1_000:].strip() or "none"

    def take_new_weights(self) -> None:
        """Wake up and read the folder again."""
        if self._sleeps:
            self._ask("/wake_up?tags=weights", {})
        self._ask("/collective_rpc", {"method": "reload_weights"})
        if self._sleeps:
            self._ask("/wake_up?tags=kv_cache", {})
        self._ask("/reset_prefix_cache", {})

    def sleep(self) -> None:
        """Give the device's memory back, weights included."""
        if self._sleeps:
            self._ask("/sleep?level=2", {})

    def answers(self, bodies: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        """The ids of an answer to each request."""
        with ThreadPoolExecutor(min(REQUESTS, len(bodies))) as pool:
            replies = list(pool.map(lambda body: self._ask("/v1/completions", body), bodies))
        found = [reply["choices"][0].get("token_ids") for reply in replies]
        if None in found:
            raise RunFailed(
                "vLLM returned no token ids: it is older than 0.10.2; install a new one"
            )
        return found

    def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        try:
            said = self._call(path, json.dumps(body).encode())
        except urllib.error.HTTPError as error:
            why = error.read().decode(errors="replace")[:500]
            raise RunFailed(f"vLLM refused {path}: {error.code} {why}") from error
        except (OSError, http.client.HTTPException) as error:
            why = f"{error}; its last words: {self._last_words()}"
            raise RunFailed(f"vLLM does not answer {path}: {why}") from error
        return json.loads(said) if said.strip() else None

    def _call(self, path: str, body: bytes | None = None) -> bytes:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._address + path, body, headers)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as reply:
            return bytes(reply.read())


def _end(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    said.close()
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    end_session(process.pid)
