from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from arena_players import echo, scripted, stalling

from langraft.arena.local import player
from langraft.arena.players import Endpoint, Settings, Usage, endpoint, joined, reply
from langraft.core.errors import BadInput, RunFailed

ASK = [{"role": "user", "content": "你好"}]


def test_an_endpoint_streams_and_counts_tokens() -> None:
    with scripted(echo("x")) as (url, seen):
        mine = endpoint("mine", url, key="secret")
        assert mine.name == "mine"
        assert list(mine.stream(ASK, Settings(max_tokens=7))) == ["x: ", "你好", " <b>!</b>"]
        body, authorization = seen[0]
        assert (body["model"], body["max_tokens"], body["stream"]) == ("scripted", 7, True)
        assert body["messages"] == ASK and authorization == "Bearer secret"
        assert reply(mine, ASK, Settings()) == ("x: 你好 <b>!</b>", Usage(10, 3))


def test_names_and_models_of_a_spec() -> None:
    with scripted(echo("x")) as (url, _):
        assert player(url).name == "scripted"
        assert player(f"{url}#other").name == "other"
        assert player(f"a={url}#other").name == "a"
    assert player("runs/one/model.gguf").name == "model"
    assert player("a=runs/x=1/model").name == "a"
    assert player("runs/x=1/model").name == "model"


def refusing(_: dict[str, Any]) -> Iterator[str]:
    raise ValueError("503")
    yield ""


def test_failures_name_the_player() -> None:
    with (
        scripted(refusing) as (url, _),
        pytest.raises(RunFailed, match=r"mine: .* answered 503"),
    ):
        list(endpoint("mine", url).stream(ASK, Settings()))
    with pytest.raises(RunFailed, match="mine: "):
        list(endpoint("mine", "http://127.0.0.1:9/v1#m").stream(ASK, Settings()))
    with pytest.raises(BadInput, match="lists no model"):
        endpoint("", "http://127.0.0.1:9/v1")


def test_a_stall_is_an_error() -> None:
    with scripted(stalling(1.0)) as (url, _):
        slow = Endpoint("slow", url, "m", patience=0.2)
        pieces = slow.stream(ASK, Settings())
        assert next(pieces) == "well"
        with pytest.raises(RunFailed, match=r"slow: nothing came for 0\.2 s"):
            next(pieces)


def test_a_connection_kept_alive_without_text_is_a_stall_too() -> None:
    slow = Endpoint("slow", "http://127.0.0.1:9", "m", patience=0.05)

    def breathing() -> Iterator[str]:
        yield 'data: {"choices": [{"delta": {"content": "well"}}]}'
        while True:
            time.sleep(0.02)
            yield ": ping"

    pieces = slow._pieces(breathing())
    assert next(pieces) == "well"
    with pytest.raises(RunFailed, match=r"no text came for 0\.05 s"):
        next(pieces)


def test_a_character_cut_between_two_pieces_is_whole_again() -> None:
    assert joined(["\ud83d", "\ude00 好"]) == "😀 好"
    assert joined(["a\ud83d", "b"]) == "a\ufffdb"
