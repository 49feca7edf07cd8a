"""Preferences labelled by a scripted judge, and best-of-n by rules."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from arena_players import scripted

from langraft.arena.judge import Jury
from langraft.arena.players import endpoint
from langraft.arena.verdicts import template
from langraft.core.errors import BadInput, RunFailed
from langraft.data.preferences import Preference, read_preferences
from langraft.pipeline.feedback import label_pairs, score_files

QUESTIONS = ["短", "长", "偏", "乱"]


def files(folder: Path) -> list[Path]:
    """Two models' answers; the second one is better where the question is not `偏` or `乱`."""
    found = []
    for name in ("poor", "fine"):
        rows = [{"instruction": q, "output": f"{name} 对 {q} 的回答"} for q in QUESTIONS]
        path = folder / f"{name}.jsonl"
        path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
        found.append(path)
    return found


def judge(body: dict[str, Any]) -> Iterator[str]:
    """Likes `fine`; always the first at `偏` (position bias); talks nonsense at `乱`."""
    text = body["messages"][-1]["content"]
    if "乱" in text:
        yield "no idea"
    elif "偏" in text:
        yield "[[A]]"
    else:
        yield "[[A]]" if text.index("fine") < text.index("poor") else "[[B]]"


def test_only_what_both_orders_agree_on_is_kept(tmp_path: Path) -> None:
    with scripted(judge) as (url, seen):
        jury = Jury(endpoint("judge", url), template("verdict-zh"), workers=2, pause=0.0)
        found = label_pairs(files(tmp_path), jury, tmp_path / "out")
        asked = len(seen)
        again = label_pairs(files(tmp_path), jury, tmp_path / "out")
        assert len(seen) == asked, "labels already paid for are asked again"
    assert found == again
    assert (found["judged"], found["preferences"]) == (4, 2)
    assert found["dropped"] == {"orders disagree or tie": 1, "no verdict": 1}
    pairs = list(read_preferences(tmp_path / "out" / "preferences.jsonl"))
    assert all(isinstance(p, Preference) and p.chosen.startswith("fine") for p in pairs)


def test_a_judge_that_fails_keeps_what_was_paid_for(tmp_path: Path) -> None:
    calls: list[int] = []

    def dies(body: dict[str, Any]) -> Iterator[str]:
        calls.append(1)
        if len(calls) > 2:
            raise ValueError(500)
        yield from judge(body)

    with scripted(dies) as (url, _):
        jury = Jury(endpoint("judge", url), template("verdict-zh"), workers=1, pause=0.0)
        with pytest.raises(RunFailed, match="answered 500"):
            label_pairs(files(tmp_path), jury, tmp_path / "out")
    kept = (tmp_path / "out" / "judgements.jsonl").read_text().splitlines()
    assert len(kept) == 2


def test_a_judge_that_falls_silent_keeps_what_was_paid_for(tmp_path: Path) -> None:
    calls: list[int] = []

    def stalls(body: dict[str, Any]) -> Iterator[str]:
        calls.append(1)
        if len(calls) > 2:
            yield "[["
            time.sleep(1.5)
        yield from judge(body)

    with scripted(stalls) as (url, _):
        jury = Jury(endpoint("judge", url, patience=0.5), template("verdict-zh"), 1, pause=0.0)
        with pytest.raises(RunFailed, match="judge"):
            label_pairs(files(tmp_path), jury, tmp_path / "out")
    kept = (tmp_path / "out" / "judgements.jsonl").read_text().splitlines()
    assert len(kept) == 2


def test_files_that_cannot_be_compared(tmp_path: Path) -> None:
    first, second = files(tmp_path)
    second.write_text('{"instruction": "other", "output": "a"}')
    jury = Jury(None, template("verdict-zh"))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="no question in common"):
        label_pairs([first, second], jury, tmp_path)
    with pytest.raises(BadInput, match="needs at least two"):
        label_pairs([first], jury, tmp_path)


def test_the_best_of_several_answers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [
        {"instruction": "问", "output": text} for text in ("啊啊啊啊啊啊啊啊", "这是一个回答。")
    ]
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    found = score_files([path], {"repetition": 1.0, "whole-sentence": 1.0}, tmp_path / "best.jsonl")
    assert found["means"][str(path)] == {"repetition": 0.6, "whole-sentence": 0.5}
    assert (found["questions"], found["answers"]) == (1, 2)
    (line,) = (tmp_path / "best.jsonl").read_text().splitlines()
    assert json.loads(line)["messages"][-1]["content"] == "这是一个回答。"
    with pytest.raises(BadInput, match="rule 'nice'"):
        score_files([path], {"nice": 1.0})
