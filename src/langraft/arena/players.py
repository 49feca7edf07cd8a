"""Who plays: anything that streams an answer to a conversation. An OpenAI-compatible endpoint is
here; models on this machine are wrapped by their serving engines.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
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


@dataclasses.dataclass
class Usage:
    """Tokens that a player has read and written, as its endpoint counts them."""

    prompt: int = 0
    completion: int = 0


class Player(Protocol):
    """A model that answers."""

    name: str
    usage: Usage

    def stream(self, messages: Sequence[Message], settings: Settings) -> Iterator[str]:
        """The answer in pieces; closing the iterator stops the model.

        Raises:
            RunFailed: the model failed or stalled.
        """


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
        self.name, self.usage = name, Usage()
        self._url, self._model, self._patience = url.rstrip("/"), model, patience
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.Client(headers=headers, timeout=httpx2.Timeout(patience))

    def stream(self, messages: Sequence[Message], settings: Settings) -> Iterator[str]:
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
                yield from self._pieces(response.iter_lines())
        except httpx2.TimeoutException as error:
            raise RunFailed(f"{self.name}: nothing came for {self._patience:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise RunFailed(f"{self.name}: {self._url}: {error or type(error).__name__}") from error

    def _pieces(self, lines: Iterator[str]) -> Iterator[str]:
        """The text of a stream of server-sent events; it must end with a finish reason or
        `[DONE]`.
        """
        finished = False
        for line in lines:
            if not line.startswith("data:"):
                continue
            data = line.removeprefix("data:").strip()
            if data == "[DONE]":
                finished = True
                break
            event = self._event(data)
            if event.get("usage"):
                self.usage.prompt += int(event["usage"].get("prompt_tokens", 0))
                self.usage.completion += int(event["usage"].get("completion_tokens", 0))
            for choice in event.get("choices", [])[:1]:
                finished = finished or choice.get("finish_reason") is not None
                if text := (choice.get("delta") or {}).get("content"):
                    yield text
        if not finished:
            raise RunFailed(f"{self.name}: the answer broke off")

    def _event(self, data: str) -> Mapping[str, Any]:
        try:
            event = json.loads(data)
        except ValueError as error:
            raise RunFailed(f"{self.name}: the stream holds no JSON: {data[:200]!r}") from error
        if not isinstance(event, dict) or "error" in event:
            raise RunFailed(f"{self.name}: {data[:500]}")
        return event


def endpoint(spec: str, key: str = "", patience: float = 60.0) -> Endpoint:
    """`NAME=URL#MODEL`, `URL#MODEL` or `URL` as an endpoint; without a model the first that
    `/models` lists.

    Raises:
        BadInput: the address does not answer, or lists no model.
    """
    before, equals, after = spec.partition("=")
    named = equals and not before.startswith("http")
    name, address = (before, after) if named else ("", spec)
    url, _, model = address.partition("#")
    if not model:
        model = _first_model(url, key)
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
