"""The llama.cpp engine: a process of its own, watched, restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from langraft.core.errors import RunFailed
from langraft.core.messages import warn
from langraft.serve.engine import End, EngineError, Generation, Piece, TokenProbability
from langraft.serve.upstream import Upstream

START_SECONDS, STOP_SECONDS, PAUSE_SECONDS = 600.0, 5.0, 0.5
WHOLE_CONTEXT = 2**31 - 1
FINISHED = {"eos": "stop", "word": "stop", "limit": "length", "none": "stop"}


class LlamaEngine:
    """A GGUF file in llama.cpp, with continuous batching over `slots` sequences.

    Attributes:
        name: what the API calls the model.
        context: tokens of one sequence, prompt and answer together.
        slots: sequences that are generated at the same time.
    """

    def __init__(
        self,
        file: Path,
        name: str,
        *,
        context: int = 4_096,
        slots: int = 4,
        threads: int | None = None,
        embeddings: bool = False,
        draft: Path | None = None,
    ) -> None:
        self.name, self.context, self.slots = name, context, slots
        self.embeddings = embeddings
        self._key = secrets.token_hex(16)
        self._settings = {
            "model": str(file),
            "context": context,
            "slots": slots,
            "threads": threads,
            "embeddings": embeddings,
            "draft": str(draft) if draft else None,
            "key": self._key,
        }
        self._process: asyncio.subprocess.Process | None = None
        self._upstream: Upstream | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The engine's process, when it runs."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Start the process and wait until the model is loaded.

        Raises:
            RunFailed: llama.cpp cannot load the file.
        """
        await self._launch()
        self._watcher = asyncio.create_task(self._watch())

    async def _launch(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "langraft.serve.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches us alone, and streams can be finished
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(self._settings).encode() + b"\n")
        self._process = process
        try:
            async with asyncio.timeout(START_SECONDS):
                line = await process.stdout.readline()
            address = urlsplit(json.loads(line)["address"])
        except (TimeoutError, ValueError, KeyError) as error:
            await self._kill()
            raise RunFailed(
                f"{self._settings['model']}: llama.cpp cannot load this file; it is damaged, not a "
                "language model, or larger than the memory"
            ) from error
        self._upstream = Upstream(address.hostname or "127.0.0.1", address.port or 0, self._key)

    async def _watch(self) -> None:
        while True:
            assert self._process is not None
            code = await self._process.wait()
            self._upstream = None
            warn(f"the engine's process ended (code {code}); starting it again")
            await asyncio.sleep(PAUSE_SECONDS)
            with contextlib.suppress(RunFailed):
                await self._launch()

    async def stop(self) -> None:
        """End the process; what it was generating is lost."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        self._upstream = None
        await self._kill()

    async def _kill(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def alive(self) -> bool:
        """Whether the process answers."""
        try:
            return bool(await self._server.call("GET", "/health"))
        except EngineError:
            return False

    @property
    def _server(self) -> Upstream:
        if self._upstream is None:
            raise EngineError("the engine is starting, try again", 503, "engine_unavailable")
        return self._upstream

    async def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation through the file's own chat template."""
        body = {"messages": [dict(message) for message in messages]}
        return str((await self._server.call("POST", "/apply-template", body))["prompt"])

    async def count(self, prompt: str | Sequence[int]) -> int:
        """Tokens of a prompt, framing tokens included."""
        if not isinstance(prompt, str):
            return len(prompt)
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return len((await self._server.call("POST", "/tokenize", body))["tokens"])

    async def spell(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        found = await self._server.call("POST", "/detokenize", {"tokens": list(ids)})
        return str(found["content"])

    async def generate(self, wanted: Generation) -> AsyncGenerator[Piece | End, None]:
        """Continue a prompt; the connection is closed, and the slot freed, with the iterator."""
        async with contextlib.aclosing(self._server.events("/completion", _body(wanted))) as events:
            ended = False
            async for event in events:
                if "error" in event:
                    raise EngineError(str(event["error"].get("message", event["error"])))
                if event["content"] or event.get("completion_probabilities"):
                    yield Piece(event["content"], _probabilities(event))
                if event["stop"]:
                    ended = True
                    yield End(
                        FINISHED[event["stop_type"]],
                        event["tokens_evaluated"],
                        event["tokens_predicted"],
                    )
            if not ended:
                raise EngineError(
                    "the engine stopped in the middle of this answer", 503, "engine_unavailable"
                )

    async def embed(self, text: str | Sequence[int]) -> tuple[list[float], int]:
        """The mean of the last layer's states, as a unit vector."""
        if not self.embeddings:
            raise EngineError(
                "this server was started without embeddings: langraft serve --embeddings",
                501,
                "not_supported",
            )
        content = text if isinstance(text, str) else list(text)
        found = await self._server.call("POST", "/v1/embeddings", {"input": content})
        return found["data"][0]["embedding"], found["usage"]["prompt_tokens"]


def _body(wanted: Generation) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": wanted.prompt if isinstance(wanted.prompt, str) else list(wanted.prompt),
        "n_predict": wanted.max_tokens,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "samplers": ["penalties", "temperature", "top_p"],
        "seed": -1 if wanted.seed is None else wanted.seed,
        "stop": list(wanted.stop),
        "frequency_penalty": wanted.frequency_penalty,
        "presence_penalty": wanted.presence_penalty,
        "repeat_last_n": WHOLE_CONTEXT,
        "logit_bias": [[token, value] for token, value in wanted.logit_bias.items()],
        "stream": True,
        "cache_prompt": True,
        # Without them the last event carries the prompt and every setting back.
        "response_fields": [
            "content",
            "stop",
            "stop_type",
            "tokens_evaluated",
            "tokens_predicted",
            "completion_probabilities",
        ],
    }
    if wanted.top_logprobs is not None:
        body["n_probs"] = max(1, wanted.top_logprobs)
    if wanted.schema is not None:
        body["json_schema"] = wanted.schema
    return body


def _probabilities(event: Mapping[str, Any]) -> tuple[TokenProbability, ...]:
    return tuple(
        TokenProbability(
            item["token"],
            bytes(item["bytes"]),
            item["logprob"],
            tuple((t["token"], bytes(t["bytes"]), t["logprob"]) for t in item["top_logprobs"]),
        )
        for item in event.get("completion_probabilities", ())
    )
