"""What every engine does for the API: prompts in, pieces of text out, and a way to stop."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from langraft.core.errors import LangraftError

DRAFTED = 4  # tokens that a draft model proposes at a time, unless told otherwise


class EngineError(LangraftError):
    """The engine refused or failed; the API turns it into OpenAI's error shape.

    Attributes:
        status: the HTTP status that tells the client whose fault it was.
        code: OpenAI's machine-readable code.
    """

    def __init__(self, message: str, status: int = 500, code: str = "engine_error") -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclasses.dataclass(frozen=True)
class Generation:
    """One prompt and how to continue it; the names are OpenAI's, and vLLM's where OpenAI has none.

    Attributes:
        prompt: text in which special tokens are read as such, or ids.
        top_k: sample from so many likeliest tokens; 0: from all.
        min_p: leave out tokens less likely than this share of the likeliest.
        repetition_penalty: by what logits of tokens that were there before are divided; 1: none.
        guidance: by how much the answer is driven away from that to `negative` (classifier-free
            guidance, arXiv 2306.17806); 1: not at all.
        negative: the prompt that guidance drives away from.
        draft_tokens: how many tokens a draft model proposes at a time; None: the engine's setting.
        top_logprobs: None for no log-probabilities, else how many alternatives.
        schema: a JSON schema that the answer must follow.
    """

    prompt: str | Sequence[int]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: Sequence[str] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    top_logprobs: int | None = None
    schema: Mapping[str, Any] | None = None
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    guidance: float = 1.0
    negative: str | None = None
    draft_tokens: int | None = None


@dataclasses.dataclass(frozen=True)
class TokenProbability:
    """One generated token: its text, its bytes, its log-probability, and the likeliest instead."""

    text: str
    data: bytes
    logprob: float
    top: tuple[tuple[str, bytes, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some more text, with the probabilities of its tokens when they were asked for."""

    text: str
    tokens: tuple[TokenProbability, ...] = ()


@dataclasses.dataclass(frozen=True)
class End:
    """The end of a generation.

    Attributes:
        reason: "stop" or "length".
        prompt_tokens, completion_tokens: what went in and came out.
        drafted, accepted: tokens that a draft model proposed, and those of them that were kept.
    """

    reason: str
    prompt_tokens: int
    completion_tokens: int
    drafted: int = 0
    accepted: int = 0


class Engine(Protocol):
    """A model that answers.

    Attributes:
        name: what clients call it.
        context: tokens of one conversation, prompt and answer together.
        slots: answers generated at the same time.
        guides: whether it knows guidance.
        drafts: whether a draft model works for it.
    """

    name: str
    context: int
    slots: int
    guides: bool
    drafts: bool

    async def start(self) -> None:
        """Load the model; may take long."""

    async def stop(self) -> None:
        """Give everything back."""

    async def alive(self) -> bool:
        """Whether a request would be answered now."""

    async def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as the model's chat template writes it, ready to be continued."""

    async def count(self, prompt: str | Sequence[int]) -> int:
        """Tokens of a prompt."""

    def most(self, prompt: str | Sequence[int]) -> float:
        """A number of tokens that a prompt cannot exceed, known without counting them."""

    async def spell(self, ids: Sequence[int]) -> str:
        """The text of ids."""

    def generate(self, wanted: Generation) -> AsyncGenerator[Piece | End, None]:
        """Continue a prompt; closing the iterator frees the slot."""

    async def embed(self, text: str | Sequence[int]) -> tuple[list[float], int]:
        """A unit vector for a text, and its tokens."""
