"""The transformers engine: any causal language model of a folder, one answer at a time."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import torch

from langraft.core.errors import BadInput
from langraft.graft.context import one_alpha
from langraft.serve.engine import DRAFTED, End, EngineError, Generation, Piece, TokenProbability
from langraft.serve.steps import Reading, Steps
from langraft.serve.templates import rendered
from langraft.serve.text import TextStream, load, stop_tokens


class TransformersEngine:
    """A model folder in transformers, on the GPU when there is one.

    Attributes:
        name, context, slots: see `Engine`; one sequence at a time.
    """

    slots, guides = 1, True

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        context: int | None = None,
        draft: Path | None = None,
        draft_tokens: int = DRAFTED,
    ) -> None:
        self.name, self.drafts = name, draft is not None
        self._folder, self._draft_folder, self._draft_tokens = folder, draft, draft_tokens
        self._model: Any = None
        self._draft: Any = None
        self._tokenizer: Any = None
        self.context = context or 0

    async def start(self) -> None:
        """Load the model.

        Raises:
            BadInput: not a model folder, or a draft model with another vocabulary.
        """
        self._model, self._tokenizer = await asyncio.to_thread(load, self._folder)
        if self._draft_folder is not None:
            self._draft, theirs = await asyncio.to_thread(load, self._draft_folder)
            if theirs.get_vocab() != self._tokenizer.get_vocab():
                raise BadInput(
                    f"--draft {self._draft_folder}: its vocabulary is not that of {self._folder}; "
                    "a draft model must have the same tokenizer"
                )
        longest = int(getattr(self._model.config, "max_position_embeddings", None) or 1 << 20)
        self.context = min(self.context or longest, longest)

    async def stop(self) -> None:
        """Let the model go."""
        self._model = self._tokenizer = self._draft = None

    async def alive(self) -> bool:
        """Whether the model is loaded."""
        return self._model is not None

    async def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation through the tokenizer's chat template."""
        try:
            return rendered(self._tokenizer, messages)
        except jinja2.TemplateError as error:
            raise EngineError(f"messages: the chat template refuses them: {error}", 400) from error

    async def count(self, prompt: str | Sequence[int]) -> int:
        """Tokens of a prompt."""
        return len(self._ids(prompt))

    def most(self, prompt: str | Sequence[int]) -> float:
        """Nothing is known: a normaliser may make text longer, and counting is cheap here."""
        return math.inf if isinstance(prompt, str) else len(prompt)

    async def spell(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return str(self._tokenizer.decode(self._ids(ids)))

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        if isinstance(prompt, str):
            return list(self._tokenizer(prompt)["input_ids"])
        rows = self._model.get_input_embeddings().weight.shape[0]
        if any(token >= rows for token in prompt):
            raise EngineError(f"prompt: ids must be below {rows}", 400, "invalid_value")
        return list(prompt)

    async def generate(self, wanted: Generation) -> AsyncGenerator[Piece | End, None]:
        """Continue a prompt; closing the iterator stops the work before its next token."""
        if wanted.schema is not None:
            raise EngineError(
                "response_format: this server's engine (transformers) cannot follow a schema; "
                "serve the model with --engine llama",
                400,
                "not_supported",
            )
        loop, left = asyncio.get_running_loop(), threading.Event()
        queue: asyncio.Queue[Piece | End | None] = asyncio.Queue()

        def put(piece: Piece | End) -> None:
            if not left.is_set():
                loop.call_soon_threadsafe(queue.put_nowait, piece)

        task = asyncio.create_task(asyncio.to_thread(self._work, wanted, put, left))
        task.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while (piece := await queue.get()) is not None:
                yield piece
            task.result()
        finally:
            left.set()
            await asyncio.gather(task, return_exceptions=True)

    def _work(
        self, wanted: Generation, put: Callable[[Piece | End], None], left: threading.Event
    ) -> None:
        prompt = self._ids(wanted.prompt)
        if not prompt:
            raise EngineError("prompt: has no token", 400, "invalid_value")
        stops = stop_tokens(self._model, self._tokenizer)
        answer = _Answer(TextStream(self._tokenizer, prompt), wanted.stop, put)
        steps = self._steps(wanted, prompt)
        reason, complete = "length", False
        whole = len(prompt) + wanted.max_tokens
        with torch.inference_mode(), one_alpha(self._model, whole):
            while len(steps.produced) < wanted.max_tokens and not left.is_set():
                token, logits = steps.next()
                if token in stops:
                    reason = "stop"
                    break
                steps.produced.append(token)
                if answer.add(token, self._probability(logits, token, wanted.top_logprobs)):
                    reason, complete = "stop", True
                    break
        if not complete:
            answer.end()
        put(End(reason, len(prompt), len(steps.produced), steps.drafted, steps.accepted))

    def _steps(self, wanted: Generation, prompt: list[int]) -> Steps:
        against = self._ids(wanted.negative or "") if wanted.guidance != 1 else None
        return Steps(
            wanted,
            prompt,
            Reading(self._model),
            Reading(self._draft) if self._draft is not None else None,
            Reading(self._model, against) if against else None,
            self._draft_tokens,
        )

    def _probability(
        self, logits: torch.Tensor, token: int, top: int | None
    ) -> tuple[TokenProbability, ...]:
        if top is None:
            return ()
        scores = logits.log_softmax(-1)
        best = scores.topk(top) if top else None
        pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True) if best else ()

        def text(index: int) -> str:
            return str(self._tokenizer.decode([index]))

        others = tuple((text(i), text(i).encode(), value) for value, i in pairs)
        spelt = text(token)
        return (TokenProbability(spelt, spelt.encode(), float(scores[token]), others),)

    async def embed(self, text: str | Sequence[int]) -> tuple[list[float], int]:
        """The mean of the last layer's states, as a unit vector."""
        ids = self._ids(text)
        if not ids:
            raise EngineError("input: has no token", 400, "invalid_value")

        def work() -> list[float]:
            with torch.inference_mode():
                tensor = torch.tensor([ids], device=self._model.device)
                states = self._model(tensor, output_hidden_states=True).hidden_states[-1][0]
                mean = states.float().mean(0)
                return (mean / mean.norm()).tolist()

        return await asyncio.to_thread(work), len(ids)


class _Answer:
    """Text on its way out: what may be the beginning of a stop text is held back."""

    def __init__(
        self, stream: TextStream, stops: Sequence[str], put: Callable[[Piece | End], None]
    ) -> None:
        self._stream, self._stops, self._put = stream, stops, put
        self._held = ""
        self._tokens: list[TokenProbability] = []

    def add(self, token: int, probability: tuple[TokenProbability, ...]) -> bool:
        """Take a token; True when a stop text is complete."""
        self._tokens += probability
        self._held += self._stream.add(token)
        places = [place for stop in self._stops if (place := self._held.find(stop)) >= 0]
        if places:
            self._send(min(places))
            return True
        longest = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        self._send(len(self._held) - longest)
        return False

    def end(self) -> None:
        """Send what is still held back."""
        self._held += self._stream.end()
        self._send(len(self._held))

    def _send(self, length: int) -> None:
        if length or self._tokens:
            self._put(Piece(self._held[:length], tuple(self._tokens)))
            self._held, self._tokens = self._held[length:], []


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` that may be the beginning of `stop`."""
    return next((n for n in range(len(stop) - 1, 0, -1) if text.endswith(stop[:n])), 0)
