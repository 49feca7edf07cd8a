"""The vLLM engine: `vllm serve` from its own environment, behind our validation."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import shutil
import socket
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from langraft.checkpoint.folder import load_tokenizer
from langraft.core.errors import BadInput, RunFailed
from langraft.core.processes import ends_with_us
from langraft.serve.engine import End, EngineError, Generation, Piece, TokenProbability
from langraft.serve.process import START_SECONDS, ProcessEngine
from langraft.serve.templates import rendered
from langraft.serve.upstream import Upstream

POLL_SECONDS = 0.5


class VllmEngine(ProcessEngine):
    """A model folder in vLLM. Prompts are tokenised here and sent as ids, so that what is counted
    is what is read.

    Attributes:
        name, context, slots: see `Engine`.
    """

    guides = drafts = False

    def __init__(
        self, folder: Path, name: str, *, context: int = 4_096, slots: int = 64, program: str
    ) -> None:
        """`program` is the `vllm` command, a name on the path or a file.

        Raises:
            BadInput: there is no such command.
        """
        super().__init__()
        self.name, self.context, self.slots = name, context, slots
        self._folder = folder
        found = shutil.which(program)
        if found is None:
            raise BadInput(
                f"--vllm {program}: no such command; vLLM has an environment of its own: "
                "`python3 -m venv vllm && vllm/bin/pip install vllm`, then --vllm vllm/bin/vllm"
            )
        self._program, self._key = found, secrets.token_hex(16)
        self._tokenizer: Any = load_tokenizer(folder)

    async def _launch(self) -> Upstream:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = {
            "--host": "127.0.0.1",
            "--port": str(port),
            "--api-key": self._key,
            "--served-model-name": self.name,
            "--max-model-len": str(self.context),
            "--max-num-seqs": str(self.slots),
        }
        words = [word for pair in options.items() for word in pair]
        command = (self._program, "serve", str(self._folder), *words)
        process = await self._spawn(ends_with_us(command), asyncio.subprocess.DEVNULL)
        upstream = Upstream(("127.0.0.1", port), self._key)
        try:
            async with asyncio.timeout(START_SECONDS):
                while process.returncode is None:
                    with contextlib.suppress(EngineError):
                        await upstream.call("GET", "/v1/models")
                        return upstream
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError:
            await self._kill()
        raise RunFailed(
            f"{self._folder}: vLLM did not come up; its own message: {self._program} serve "
            f"{self._folder} {' '.join(words)}"
        )

    def _end(self, process: asyncio.subprocess.Process) -> None:
        process.terminate()

    async def alive(self) -> bool:
        """Whether vLLM answers; its /health has no body."""
        try:
            return bool(await self._server.call("GET", "/v1/models"))
        except EngineError:
            return False

    async def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation through the tokenizer's chat template."""
        try:
            return rendered(self._tokenizer, messages)
        except jinja2.TemplateError as error:
            raise EngineError(f"messages: the chat template refuses them: {error}", 400) from error

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        if isinstance(prompt, str):
            return list(self._tokenizer(prompt)["input_ids"])
        return list(prompt)

    async def count(self, prompt: str | Sequence[int]) -> int:
        """Tokens of a prompt, framing tokens included."""
        return len(self._ids(prompt))

    def most(self, prompt: str | Sequence[int]) -> float:
        """Nothing is known: a normaliser may make text longer, and counting is cheap here."""
        return math.inf if isinstance(prompt, str) else len(prompt)

    async def spell(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return str(self._tokenizer.decode(list(ids)))

    async def generate(self, wanted: Generation) -> AsyncGenerator[Piece | End, None]:
        """Continue a prompt; the connection is closed, and the slot freed, with the iterator."""
        body = _body(self.name, self._ids(wanted.prompt), wanted)
        reason, counts = None, {"prompt_tokens": 0, "completion_tokens": 0}
        async with contextlib.aclosing(self._server.events("/v1/completions", body)) as events:
            async for event in events:
                if "error" in event:
                    raise EngineError(str(event["error"].get("message", event["error"])))
                counts = event.get("usage") or counts
                for choice in event["choices"]:
                    tokens = _probabilities(choice.get("logprobs"))
                    if choice["text"] or tokens:
                        yield Piece(choice["text"], tokens)
                    reason = choice["finish_reason"] or reason
        if reason is None:
            raise EngineError(
                "the engine stopped in the middle of this answer", 503, "engine_unavailable"
            )
        yield End(reason, counts["prompt_tokens"], counts["completion_tokens"])

    async def embed(self, text: str | Sequence[int]) -> tuple[list[float], int]:
        """Not with vLLM: it embeds with models made for that only."""
        raise EngineError(
            "vLLM serves no embeddings of a language model; use --engine llama --embeddings",
            501,
            "not_supported",
        )


def _body(name: str, ids: list[int], wanted: Generation) -> dict[str, Any]:
    if wanted.guidance != 1:
        raise EngineError("guidance: vLLM has none; use --engine transformers", 400)
    body: dict[str, Any] = {
        "model": name,
        "prompt": ids,
        "max_tokens": wanted.max_tokens,
        "temperature": wanted.temperature,
        "top_p": wanted.top_p,
        "seed": wanted.seed,
        "stop": list(wanted.stop),
        "frequency_penalty": wanted.frequency_penalty,
        "presence_penalty": wanted.presence_penalty,
        "repetition_penalty": wanted.repetition_penalty,
        "top_k": wanted.top_k,
        "min_p": wanted.min_p,
        "logprobs": wanted.top_logprobs,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if wanted.logit_bias:
        body["logit_bias"] = {str(token): value for token, value in wanted.logit_bias.items()}
    if wanted.schema is not None:
        named = {"name": "answer", "schema": wanted.schema}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    return body


def _probabilities(found: Mapping[str, Any] | None) -> tuple[TokenProbability, ...]:
    if not found:
        return ()
    tops = found.get("top_logprobs") or [None] * len(found["tokens"])
    return tuple(
        TokenProbability(
            text,
            text.encode(),
            logprob,
            tuple((word, word.encode(), value) for word, value in (top or {}).items()),
        )
        for text, logprob, top in zip(found["tokens"], found["token_logprobs"], tops, strict=True)
    )
