"""Answers in OpenAI's shapes."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from langraft.serve.engine import End, Piece, TokenProbability


class Shape:
    """One request's answer, whole or in chunks; the ids and times of all its chunks agree."""

    prefix, whole, chunk = "cmpl", "text_completion", "text_completion"

    def __init__(self, model: str) -> None:
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
        }

    def opening(self, index: int) -> list[dict[str, Any]]:
        """The chunks before the first text of choice `index`."""
        return []

    def part(self, index: int, piece: Piece, offset: int) -> dict[str, Any]:
        """One chunk of choice `index`; `offset` characters of it went before."""
        choice = {
            "index": index,
            "text": piece.text,
            "logprobs": legacy_logprobs(piece.tokens, offset) if piece.tokens else None,
            "finish_reason": None,
        }
        return self._chunk([choice])

    def last(self, index: int, reason: str) -> dict[str, Any]:
        """The chunk that ends choice `index`."""
        choice = {"index": index, "text": "", "logprobs": None, "finish_reason": reason}
        return self._chunk([choice])

    def usage(self, ends: Sequence[End]) -> dict[str, Any]:
        """The chunk with the counts."""
        return self._chunk([]) | {"usage": usage(ends)}

    def complete(
        self, choices: Sequence[tuple[str, list[TokenProbability], End]], ends: Sequence[End]
    ) -> dict[str, Any]:
        """The whole answer; `ends` counts each prompt once."""
        made = [self._choice(n, text, tokens, end) for n, (text, tokens, end) in enumerate(choices)]
        return self._head | {"object": self.whole, "choices": made, "usage": usage(ends)}

    def _choice(
        self, index: int, text: str, tokens: list[TokenProbability], end: End
    ) -> dict[str, Any]:
        return {
            "index": index,
            "text": text,
            "logprobs": legacy_logprobs(tokens, 0) if tokens else None,
            "finish_reason": end.reason,
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self._head | {"object": self.chunk, "choices": choices}


class ChatShape(Shape):
    """The shapes of /v1/chat/completions."""

    prefix, whole, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def opening(self, index: int) -> list[dict[str, Any]]:
        """The chunk that names the role."""
        return [self._delta(index, {"role": "assistant", "content": ""})]

    def part(self, index: int, piece: Piece, offset: int) -> dict[str, Any]:
        """One chunk of text."""
        logprobs = {"content": chat_logprobs(piece.tokens)} if piece.tokens else None
        return self._delta(index, {"content": piece.text}, logprobs)

    def last(self, index: int, reason: str) -> dict[str, Any]:
        """The chunk that says why the choice ended."""
        return self._delta(index, {}, None, reason)

    def _delta(
        self, index: int, delta: Mapping[str, str], logprobs: Any = None, reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._chunk([choice])

    def _choice(
        self, index: int, text: str, tokens: list[TokenProbability], end: End
    ) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": {"content": chat_logprobs(tokens)} if tokens else None,
            "finish_reason": end.reason,
        }


def usage(ends: Sequence[End]) -> dict[str, int]:
    """Token counts; choices of one prompt share it, so it is counted by its first choice."""
    prompt = sum(end.prompt_tokens for end in ends)
    completion = sum(end.completion_tokens for end in ends)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def chat_logprobs(tokens: Sequence[TokenProbability]) -> list[dict[str, Any]]:
    """The chat route's shape: a list of tokens, each with its alternatives."""
    return [
        {
            "token": token.text,
            "logprob": token.logprob,
            "bytes": list(token.data),
            "top_logprobs": [
                {"token": text, "logprob": logprob, "bytes": list(data)}
                for text, data, logprob in token.top
            ],
        }
        for token in tokens
    ]


def legacy_logprobs(tokens: Sequence[TokenProbability], offset: int) -> dict[str, Any]:
    """The older route's shape: parallel lists; offsets count characters from the choice's start."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [_by_text(token) for token in tokens],
        "text_offset": offsets,
    }


def _by_text(token: TokenProbability) -> dict[str, float]:
    """Parts of a character all read U+FFFD; the likeliest of them gives the number."""
    return {text: logprob for text, _, logprob in sorted(token.top, key=lambda one: one[2])}
