from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from arena_players import echo, scripted, stalling

from langraft.arena.players import Settings, endpoint
from langraft.core.errors import BadInput, RunFailed

ASK = [{"role": "user", "content": "你好"}]


def test_an_endpoint_streams_and_counts_tokens() -> None:
    with scripted(echo("x")) as (url, seen):
        player = endpoint(f"mine={url}", key="secret")
        assert player.name == "mine"
        assert list(player.stream(ASK, Settings(max_tokens=7))) == ["x: ", "你好", " <b>!</b>"]
        body, authorization = seen[0]
        assert (body["model"], body["max_tokens"], body["stream"]) == ("scripted", 7, True)
        assert body["messages"] == ASK and authorization == "Bearer secret"
        assert (player.usage.prompt, player.usage.completion) == (10, 3)


def test_names_and_models_of_a_spec() -> None:
    with scripted(echo("x")) as (url, _):
        assert endpoint(url).name == "scripted"
        assert endpoint(f"{url}#other").name == "other"
        assert endpoint(f"a={url}#other").name == "a"


def refusing(_: dict[str, Any]) -> Iterator[str]:
    raise ValueError("503")
    yield ""


def test_failures_name_the_player() -> None:
    with (
        scripted(refusing) as (url, _),
        pytest.raises(RunFailed, match=r"mine: .* answered 503"),
    ):
        list(endpoint(f"mine={url}").stream(ASK, Settings()))
    with pytest.raises(RunFailed, match="mine: "):
        list(endpoint("mine=http://127.0.0.1:9/v1#m").stream(ASK, Settings()))
    with pytest.raises(BadInput, match="lists no model"):
        endpoint("http://127.0.0.1:9/v1")


def test_a_stall_is_an_error() -> None:
    with scripted(stalling(1.0)) as (url, _):
        player = endpoint(f"slow={url}#m", patience=0.2)
        pieces = player.stream(ASK, Settings())
        assert next(pieces) == "well"
        with pytest.raises(RunFailed, match=r"slow: nothing came for 0\.2 s"):
            next(pieces)
