from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from langraft.arena.votes import Vote, ballots, read_votes, write_votes
from langraft.core.errors import BadInput

GOOD = {"model_a": "x", "model_b": "y", "winner": "tie (bothbad)", "tstamp": 3.5, "extra": 1}


def test_votes_survive_a_round_trip(tmp_path: Path) -> None:
    talk = ({"role": "user", "content": "你好"}, {"role": "assistant", "content": "</script>"})
    votes = [
        Vote("x", "y", "model_a", "v1", 5.0, conversation_a=talk, settings={"top_p": 0.9}),
        Vote("y", "z", "tie", seconds_a=1.5, category="写作", language="zh", question_id="7"),
    ]
    path = tmp_path / "votes.jsonl"
    assert write_votes(path, votes) == 2
    assert read_votes(path) == votes
    assert json.loads(path.read_text().splitlines()[0])["turn"] == 1


def test_a_json_list_as_lmsys_publishes_it(tmp_path: Path) -> None:
    path = tmp_path / "clean_battle.json"
    path.write_text(json.dumps([GOOD, GOOD | {"question_id": 81, "language": None}]))
    votes = read_votes(path)
    assert [v.question_id for v in votes] == ["", "81"]
    assert votes[0].tstamp == 3.5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r":2: not JSON"),
        ("[1]", r":2: a vote is an object, found list"),
        (json.dumps({"model_a": "x", "winner": "tie"}), r":2: model_b is missing"),
        (
            json.dumps(GOOD | {"winner": "left"}),
            r":2: winner is 'left'; it must be one of: model_a",
        ),
        (json.dumps(GOOD | {"model_b": "x"}), r":2: x against itself is no battle"),
        (json.dumps(GOOD | {"model_a": ["x"]}), r":2: model_a must be a text, found \['x'\]"),
        (json.dumps(GOOD | {"tstamp": "noon"}), r":2: tstamp must be a number of seconds"),
        (json.dumps(GOOD | {"tstamp": True}), r":2: tstamp must be a number of seconds"),
        (json.dumps(GOOD | {"tstamp": math.nan}), r":2: tstamp must be a number of seconds"),
        (json.dumps(GOOD | {"anony": "no"}), r":2: anony must be true or false"),
        (json.dumps(GOOD | {"judge": "\ud800"}), r":2: not JSON .*surrogates"),
        (json.dumps(GOOD | {"conversation_a": "x"}), r":2: conversation_a must be a list"),
        (json.dumps(GOOD | {"conversation_a": [1]}), r":2: conversation_a: a message needs"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps(GOOD) + "\n" + line + "\n")
    with pytest.raises(BadInput, match=message):
        read_votes(path)


def test_an_empty_file_holds_no_vote(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text("\n")
    with pytest.raises(BadInput, match="holds no vote"):
        read_votes(path)


def test_taking_a_part_equals_reading_the_part() -> None:
    votes = [Vote("a", "b", "model_a"), Vote("c", "a", "tie"), Vote("b", "d", "model_b")]
    whole = ballots(votes).take(np.array([False, True, True]))
    part = ballots(votes[1:])
    assert whole.models == part.models
    assert np.array_equal(whole.a, part.a) and np.array_equal(whole.b, part.b)
    assert np.array_equal(whole.outcome, part.outcome)
