"""The transformers engine: any causal language model of a folder, one answer at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import torch

from langraft.serve.chat import TextStream, load, stop_tokens
from langraft.serve.engine import End, EngineError, Generation, Piece, TokenProbability


class TransformersEngine:
    """A model folder in transformers, on the GPU when there is one.

    Attributes:
        name, context, slots: see `Engine`; one sequence at a time.
    """

    slots = 1

    def __init__(self, folder: Path, name: str, *, context: int | None = None) -> None:
        self.name = name
        self._folder = folder
        self._model: Any = None
        self._tokenizer: Any = None
        self.context = context or 0

    async def start(self) -> None:
        """Load the model.

        Raises:
            BadInput: not a model folder.
        """
        self._model, self._tokenizer = await asyncio.to_thread(load, self._folder)
        longest = int(getattr(self._model.config, "max_position_embeddings", None) or 1 << 20)
        self.context = min(self.context or longest, longest)

    async def stop(self) -> None:
        """Let the model go."""
        self._model = self._tokenizer = None

    async def alive(self) -> bool:
        """Whether the model is loaded."""
        return self._model is not None

    async def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation through the tokenizer's chat template."""
        if self._tokenizer.chat_template is None:
            return "\n".join(message["content"] for message in messages) + "\n"
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    [dict(m) for m in messages], tokenize=False, add_generation_prompt=True
                )
            )
        except jinja2.TemplateError as error:
            raise EngineError(f"messages: the chat template refuses them: {error}", 400) from error

    async def count(self, prompt: str | Sequence[int]) -> int:
        """Tokens of a prompt."""
        return len(self._ids(prompt))

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
        draw = torch.Generator().manual_seed(wanted.seed) if wanted.seed is not None else None
        produced: list[int] = []
        step, cache = torch.tensor([prompt], device=self._model.device), None
        with torch.inference_mode():
            while len(produced) < wanted.max_tokens and not left.is_set():
                output = self._model(step, past_key_values=cache, use_cache=True)
                cache, logits = output.past_key_values, output.logits[0, -1].float().cpu()
                token = _choose(logits, wanted, produced, draw)
                if token in stops:
                    answer.end()
                    put(End("stop", len(prompt), len(produced)))
                    return
                produced.append(token)
                if answer.add(token, self._probability(logits, token, wanted.top_logprobs)):
                    put(End("stop", len(prompt), len(produced)))
                    return
                step = torch.tensor([[token]], device=self._model.device)
        answer.end()
        put(End("length", len(prompt), len(produced)))

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


def _choose(
    logits: torch.Tensor, wanted: Generation, produced: Sequence[int], draw: torch.Generator | None
) -> int:
    """One id: penalties and biases, then temperature, then the nucleus, as OpenAI names them."""
    logits = logits.clone()
    for token, bias in wanted.logit_bias.items():
        if token < len(logits):
            logits[token] += bias
    if produced and (wanted.frequency_penalty or wanted.presence_penalty):
        ids, counts = torch.tensor(produced).unique(return_counts=True)
        logits[ids] -= wanted.presence_penalty + wanted.frequency_penalty * counts
    if wanted.temperature == 0:
        return int(logits.argmax())
    scores = (logits / wanted.temperature).softmax(-1)
    if wanted.top_p < 1:
        ordered, places = scores.sort(descending=True)
        before = ordered.cumsum(-1) - ordered
        scores[places[before >= wanted.top_p]] = 0
    return int(torch.multinomial(scores, 1, generator=draw))


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
