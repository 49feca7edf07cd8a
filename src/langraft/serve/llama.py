"""The llama.cpp engine: a process of its own, watched, restarted when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import secrets
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.core.errors import RunFailed
from langraft.serve.engine import DRAFTED, End, EngineError, Generation, Piece, TokenProbability
from langraft.serve.process import START_SECONDS, ProcessEngine
from langraft.serve.templates import growing_text
from langraft.serve.upstream import Upstream

TEMPLATE_KEY, METADATA_BYTES = b"tokenizer.chat_template", 1 << 26
FRAMES = 8  # more than any vocabulary puts around a text, its first space included
FINISHED = {"eos": "stop", "word": "stop", "limit": "length", "none": "stop"}


class LlamaEngine(ProcessEngine):
    """A GGUF file in llama.cpp, with continuous batching over `slots` sequences.

    Attributes:
        name: what the API calls the model.
        context: tokens of one sequence, prompt and answer together.
        slots: sequences that are generated at the same time.
    """

    guides = False

    def __init__(
        self,
        file: Path,
        name: str,
        *,
        context: int = 4_096,
        slots: int = 4,
        embeddings: bool = False,
        draft: Path | None = None,
        draft_tokens: int = DRAFTED,
    ) -> None:
        super().__init__()
        self.name, self.context, self.slots = name, context, slots
        self.embeddings, self.drafts = embeddings, draft is not None
        self._key = secrets.token_hex(16)
        self._templated = _has_template(file)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._settings: dict[str, Any] = {
            "model": str(file),
            "context": context,
            "slots": slots,
            "embeddings": embeddings,
            "draft": str(draft) if draft else None,
            "draft_tokens": draft_tokens,
            "key": self._key,
        }

    async def _launch(self) -> Upstream:
        worker = (sys.executable, "-m", "langraft.serve.worker")
        self._forget_socket()
        self._folder = tempfile.TemporaryDirectory(prefix="langraft-")
        socket = Path(self._folder.name) / "engine.sock"
        settings = self._settings | {"socket": str(socket)}
        process = await self._spawn(worker)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(settings).encode() + b"\n")
        try:
            async with asyncio.timeout(START_SECONDS):
                json.loads(await process.stdout.readline())
        except (TimeoutError, ValueError) as error:
            await self._kill()
            self._forget_socket()
            raise RunFailed(
                f"{self._settings['model']}: llama.cpp cannot load this file; it is damaged, not a "
                "language model, or larger than the memory"
            ) from error
        return Upstream(socket, self._key)

    async def stop(self) -> None:
        """End the process; what it was generating is lost."""
        await super().stop()
        self._forget_socket()

    def _forget_socket(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation through the file's own chat template, or as one growing text.

        llama.cpp would write ChatML where a file has no template, for models that never saw any.
        """
        if not self._templated:
            return growing_text(messages)
        body = {"messages": [dict(message) for message in messages]}
        return str((await self._server.call("POST", "/apply-template", body))["prompt"])

    async def count(self, prompt: str | Sequence[int]) -> int:
        """Tokens of a prompt, framing tokens included."""
        if not isinstance(prompt, str):
            return len(prompt)
        body = {"content": prompt, "add_special": True, "parse_special": True}
        return len((await self._server.call("POST", "/tokenize", body))["tokens"])

    def most(self, prompt: str | Sequence[int]) -> float:
        """A token has a byte at least, and a character four at most (a space, which SentencePiece
        spells as another character, three).
        """
        return 4 * len(prompt) + FRAMES if isinstance(prompt, str) else len(prompt)

    async def spell(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        found = await self._server.call("POST", "/detokenize", {"tokens": list(ids)})
        return str(found["content"])

    async def generate(self, wanted: Generation) -> AsyncGenerator[Piece | End, None]:
        """Continue a prompt; the connection is closed, and the slot freed, with the iterator."""
        async with contextlib.aclosing(
            self._server.events("/completion", _body(wanted, self.context))
        ) as events:
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
                        event.get("timings", {}).get("draft_n", 0),
                        event.get("timings", {}).get("draft_n_accepted", 0),
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


def _has_template(file: Path) -> bool:
    """Whether the file names a chat template; keys lie in plain bytes before the tensors."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        return whole.find(TEMPLATE_KEY, 0, METADATA_BYTES) >= 0


def _body(wanted: Generation, context: int) -> dict[str, Any]:
    if wanted.guidance != 1:
        raise EngineError(
            "guidance: llama.cpp has none; serve the model with --engine transformers",
            400,
            "not_supported",
        )
    body: dict[str, Any] = {
        "prompt": wanted.prompt if isinstance(wanted.prompt, str) else list(wanted.prompt),
        "n_predict": wanted.max_tokens,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        # Greedy is the best one of all: llama.cpp would take the exponential of every logit, which
        # with 68,000 tokens is a twentieth of the time that a small model takes.
        "top_k": wanted.top_k if wanted.temperature else 1,
        "min_p": wanted.min_p,
        "repeat_penalty": wanted.repetition_penalty,
        "samplers": ["penalties", "top_k", "temperature", "top_p", "min_p"],
        "seed": -1 if wanted.seed is None else wanted.seed,
        "stop": list(wanted.stop),
        "frequency_penalty": wanted.frequency_penalty,
        "presence_penalty": wanted.presence_penalty,
        "repeat_last_n": context,  # llama.cpp allocates so many numbers: all that can be there
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
            "timings",
        ],
    }
    if wanted.draft_tokens is not None:
        body["speculative.n_max"] = wanted.draft_tokens
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
