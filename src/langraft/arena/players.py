"""Who plays: anything that streams an answer to a conversation. An OpenAI-compatible endpoint is
here; models on this machine are started as such endpoints (`local.py`).
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import httpx2

from langraft.core.errors import BadInput, RunFailed

Message = dict[str, str]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How answers are sampled, the same for both sides."""

    temperature: float = 0.7
    top_p: float = 0.95
    max_tokens: int = 512
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens read and written, as the player's endpoint counts them."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt + other.prompt, self.completion + other.completion)


class Player(Protocol):
    """A model that answers."""

    name: str

    def stream(
        self, messages: Sequence[Message], settings: Settings
    ) -> Generator[str, None, Usage]:
        """The answer in pieces, and at the end what it took; closing the generator stops the model.

        Raises:
            RunFailed: the model failed or stalled.
        """

    def close(self) -> None:
        """Let go of what the player holds: a connection, a process."""


def reply(player: Player, messages: Sequence[Message], settings: Settings) -> tuple[str, Usage]:
    """A whole answer and what it took.

    Raises:
        RunFailed: the model failed or stalled.
    """
    stream, said = player.stream(messages, settings), []
    while True:
        try:
            said.append(next(stream))
        except StopIteration as end:
            return joined(said), end.value


def joined(pieces: Iterable[str]) -> str:
    """The text of an answer: a character that was cut between two pieces is whole again, half of
    one becomes U+FFFD.
    """
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Endpoint:
    """A model behind an OpenAI-compatible API.

    Args:
        name: how the table calls it.
        url: the API's address up to and with `/v1`.
        model: the model's name there.
        key: an API key, or nothing.
        patience: seconds without a new piece after which it counts as stalled.
    """

    def __init__(
        self, name: str, url: str, model: str, key: str = "", patience: float = 60.0
    ) -> None:
        self.name = name
        self._url, self._model, self._patience = url.rstrip("/"), model, patience
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.Client(headers=headers, timeout=httpx2.Timeout(patience))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def stream(
        self, messages: Sequence[Message], settings: Settings
    ) -> Generator[str, None, Usage]:
        """See `Player.stream`."""
        body = {
            "model": self._model,
            "messages": list(messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **dataclasses.asdict(settings),
        }
        try:
            with self._client.stream(
                "POST", f"{self._url}/chat/completions", json=body
            ) as response:
                if response.status_code != 200:
                    said = response.read()[:500].decode("utf-8", "replace")
                    raise RunFailed(
                        f"{self.name}: {self._url} answered {response.status_code}: {said}"
                    )
                return (yield from self._pieces(response.iter_lines()))
        except httpx2.TimeoutException as error:
            raise RunFailed(f"{self.name}: nothing came for {self._patience:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise RunFailed(f"{self.name}: {self._url}: {error or type(error).__name__}") from error

    def _pieces(self, lines: Iterator[str]) -> Generator[str, None, Usage]:
        """The text of a stream of server-sent events; it must end with a finish reason or
        `[DONE]`.
        """
        finished, usage, heard = False, Usage(), time.monotonic()
        for line in lines:
            if not line.startswith("data:"):
                # Comments keep a connection alive, not an answer.
                if time.monotonic() - heard > self._patience:
                    raise RunFailed(f"{self.name}: no text came for {self._patience:g} s")
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                finished = True
                break
            event, heard = self._event(data), time.monotonic()
            if counted := event.get("usage"):
                usage += Usage(
                    int(counted.get("prompt_tokens") or 0),
                    int(counted.get("completion_tokens") or 0),
                )
            for choice in (event.get("choices") or [])[:1]:
                finished = finished or choice.get("finish_reason") is not None
                if text := (choice.get("delta") or {}).get("content"):
                    yield str(text)
        if not finished:
            raise RunFailed(f"{self.name}: the answer broke off")
        return usage

    def _event(self, data: str) -> Mapping[str, Any]:
        try:
            event = json.loads(data)
        except ValueError as error:
            raise RunFailed(f"{self.name}: the stream holds no JSON: {data[:200]!r}") from error
        if not isinstance(event, dict) or "error" in event:
            raise RunFailed(f"{self.name}: {data[:500]}")
        return event


def endpoint(name: str, address: str, key: str = "", patience: float = 60.0) -> Endpoint:
    """The endpoint at `URL#MODEL` or `URL`; without a model the first that `/models` lists, and
    without a name the model's.

    Raises:
        BadInput: the address does not answer, or lists no model.
    """
    url, _, model = address.partition("#")
    model = model or _first_model(url, key)
    return Endpoint(name or model, url, model, key, patience)


def _first_model(url: str, key: str) -> str:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx2.get(f"{url.rstrip('/')}/models", headers=headers, timeout=10)
        return str(answer.raise_for_status().json()["data"][0]["id"])
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, LookupError, TypeError) as error:
        raise BadInput(
            f"{url}: lists no model ({error}); is the server up, and does the address end in /v1?"
        ) from error
