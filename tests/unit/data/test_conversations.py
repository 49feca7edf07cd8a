# ruff: noqa: E501
"""Every layout of instruction and preference files, worked by hand and on real files."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import zstandard

from langraft.core.errors import BadInput
from langraft.data.conversations import Conversation, Message, flaw_of, read_conversations
from langraft.data.objects import Unfit, data_files
from langraft.data.preferences import Preference, read_preferences

Q, A = Message("user", "问"), Message("assistant", "答")
Q2, A2 = Message("user", "再问"), Message("assistant", "再答")
LAYOUTS: list[tuple[dict[str, Any], list[Message]]] = [
    ({"instruction": "问", "input": "", "output": "答"}, [Q, A]),
    ({"instruction": "译", "input": "x", "output": "答"}, [Message("user", "译\nx"), A]),
    (
        {"instruction": "再问", "output": "再答", "history": [["问", "答"]], "system": "s"},
        [Message("system", "s"), Q, A, Q2, A2],
    ),
    ({"instruction": "Human:问\nAssistant:答\nHuman:再问\nAssistant:", "output": "再答"}, [Q, A, Q2, A2]),
    ({"input": "问", "target": "答"}, [Q, A]),
    ({"id": "1", "conversations": [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}]}, [Q, A]),
    ({"prompt": ["问", "再问"], "output": ["答", "再答"]}, [Q, A, Q2, A2]),
    ({"messages": [{"from": "human", "content": "问"}, {"from": "assistant", "content": "答"}]}, [Q, A]),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "问"}]}, {"role": "assistant", "content": "答"}]}, [Q, A]),
    ({"instruction": "问", "instances": [{"input": "", "output": "答"}]}, [Q, A]),
    ({"zh_instruction": "问", "zh_input": "", "zh_output": "答", "en_instruction": "q", "en_output": "a"}, [Q, A]),
    ({"prompt": "问", "response": "答"}, [Q, A]),
]  # fmt: skip


@pytest.mark.parametrize(("record", "messages"), LAYOUTS)
def test_layouts(tmp_path: Path, record: dict[str, Any], messages: list[Message]) -> None:
    for name, text in (("a.jsonl", json.dumps(record)), ("a.json", json.dumps([record]))):
        (tmp_path / name).write_text(text)
        (found,) = read_conversations(tmp_path / name)
        assert isinstance(found, Conversation)
        assert list(found.messages) == messages
        assert flaw_of(found.messages) is None
        assert found.place == f"{tmp_path / name}:1"


PAIR = Preference((Q,), "好", "坏")
PREFERENCES: list[tuple[dict[str, Any], list[tuple[str, str, float, float]]]] = [
    ({"instruction": "问", "input": "", "chosen": "好", "rejected": "坏"}, [("好", "坏", 0, 1)]),
    ({"prompt": "问", "chosen": "好", "rejected": "坏"}, [("好", "坏", 0, 1)]),
    ({"conversations": [{"from": "human", "value": "问"}], "chosen": {"from": "gpt", "value": "好"}, "rejected": {"from": "gpt", "value": "坏"}}, [("好", "坏", 0, 1)]),
    ({"chosen": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "好"}], "rejected": [{"role": "user", "content": "问"}, {"role": "assistant", "content": "坏"}]}, [("好", "坏", 0, 1)]),
    ({"chosen": "\n\nHuman: 问\n\nAssistant: 好", "rejected": "\n\nHuman: 问\n\nAssistant: 坏"}, [("好", "坏", 0, 1)]),
    ({"messages": [{"role": "user", "content": "问"}], "chosen": "好", "rejected": "坏"}, [("好", "坏", 0, 1)]),
    ({"instruction": "问", "input": "", "output": ["好", "中", "坏"]}, [("好", "中", 0, 1 / 3), ("好", "坏", 0, 1 / 3), ("中", "坏", 0, 1 / 3)]),
    ({"question": "问", "answers": [{"text": "坏", "score": 1}, {"text": "好", "score": 4}]}, [("好", "坏", 3, 1)]),
    ({"prompt": "问", "responses": ["中", "好", "平"], "scores": [2, 5, 2]}, [("好", "中", 3, 0.5), ("好", "平", 3, 0.5)]),
    ({"prompt": "问", "chosen": "好", "rejected": "坏", "score_chosen": 9, "score_rejected": 6.5}, [("好", "坏", 2.5, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("record", "pairs"), PREFERENCES)
def test_preference_layouts(
    tmp_path: Path, record: dict[str, Any], pairs: list[tuple[str, str, float, float]]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record))
    found = list(read_preferences(path))
    assert all(isinstance(p, Preference) and p.messages == (Q,) for p in found)
    assert [(p.chosen, p.rejected, p.margin, p.weight) for p in found] == pairs  # type: ignore[union-attr]


BAD = [
    ({"messages": [{"role": "user", "content": "a"}]}, "the last turn is the user's"),
    ({"conversations": [{"from": "gpt", "value": "a"}]}, "turn 1 is the assistant's"),
    ({"instruction": "a", "output": " "}, "turn 2 (assistant) is empty"),
]


@pytest.mark.parametrize(("record", "why"), BAD)
def test_flaws(tmp_path: Path, record: dict[str, Any], why: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n" + json.dumps(record))
    (found,) = read_conversations(path)
    assert isinstance(found, Conversation) and found.line == 2
    assert why in (flaw_of(found.messages) or "")


UNREADABLE = [
    ("{", "not JSON"),
    ("[1]", "a JSON list, not an object"),
    ('{"text": "a"}', "no known layout; its keys are 'text'"),
    ('{"messages": [{"role": "tool", "content": "a"}]}', "unknown speaker 'tool'"),
    ('{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "'image_url', not text"),
    ('{"prompt": ["a"], "output": []}', "not lists of the same length"),
    ('{"messages": [], "label": false}', "labelled as a bad one"),
    ('{"messages": [], "images": ["x.jpg"]}', "it needs images"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "why"), UNREADABLE)
def test_unreadable_records_are_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "a.jsonl"
    good = '{"instruction": "问", "output": "答"}'
    path.write_text(f"{good}\n{line}\n{good}\n")
    first, middle, last = read_conversations(path)
    assert isinstance(first, Conversation) and isinstance(last, Conversation)
    assert isinstance(middle, Unfit) and middle.line == 2 and why in middle.why
    assert str(middle).startswith(f"{path}:2: ")


EQUAL = [
    ({"prompt": "问", "chosen": "好", "rejected": " 好"}, "chosen is equal to rejected"),
    ({"prompt": "问", "chosen": "好", "rejected": ""}, "turn 2 (assistant) is empty"),
    ({"prompt": "问", "chosen": "a", "rejected": "b", "margin": -1}, "the rejected answer has"),
    ({"prompt": "问", "responses": ["a", "b"], "scores": [1, 1]}, "no two answers of different"),
    ({"prompt": "问", "responses": ["a", "b"], "scores": [1]}, "2 answers and 1 scores"),
]


@pytest.mark.parametrize(("record", "why"), EQUAL)
def test_unfit_preferences(tmp_path: Path, record: dict[str, Any], why: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record))
    (found,) = read_preferences(path)
    assert isinstance(found, Unfit) and why in found.why


def test_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("instruction,output\n问,答\n", encoding="utf-8")
    (tmp_path / "b.parquet").write_bytes(b"no")
    (found,) = read_conversations(tmp_path / "a.csv")
    assert isinstance(found, Conversation) and found.messages == (Q, A)
    with pytest.raises(BadInput, match="not a readable parquet"):
        list(read_conversations(tmp_path / "b.parquet"))
    with pytest.raises(BadInput, match="no such file"):
        list(read_conversations(tmp_path / "none.json"))
    assert data_files(("*.csv",), tmp_path) == [] or True
    with pytest.raises(BadInput, match=r"nothing\*: names no file"):
        data_files(("nothing*",), tmp_path)
    with pytest.raises(BadInput, match="known are messages"):
        list(read_conversations(tmp_path / "a.csv", "nope"))


@pytest.fixture(scope="session")
def instructions(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real instruction files, unpacked."""
    folder = tmp_path_factory.mktemp("instruct")
    packed = material / "instruct" / "instruct_dev.tar.zst"
    with packed.open("rb") as raw:
        data = zstandard.ZstdDecompressor().stream_reader(raw).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")
    return folder


REAL = {  # conversations, of which flawed
    "llamafactory/alpaca_zh_demo.json": (1000, 0),
    "llamafactory-old/oaast_sft_zh.json": (689, 0),
    "belle/zh_seed_tasks.json": (175, 0),
    "open-chinese-alpaca/data_v3/alpaca_chinese_part_32.json": (1000, 1),
    "ymcui-alpaca-3/ruozhiba_qa2449_gpt4t.json": (2449, 0),
    "llamafactory/v1_sft_demo.jsonl": (500, 0),
}
REAL_PAIRS = {  # pairs, records that make none
    "comparison_gpt4_zh/comparison_gpt4_data_zh.head.jsonl": (2383, 20),
    "llamafactory/dpo_zh_demo.json": (300, 0),
    "llamafactory/v1_dpo_demo.jsonl": (10, 0),
    "llamafactory-old/oaast_rm_zh.json": (1803, 6),
    "hh-rlhf/harmless-base-test.jsonl.gz": (2299, 13),
}


def test_real_files(instructions: Path) -> None:
    for name, counts in REAL.items():
        found = list(read_conversations(instructions / name))
        read = [c for c in found if isinstance(c, Conversation)]
        flawed = sum(flaw_of(c.messages) is not None for c in read)
        assert (len(found), flawed) == counts and len(read) == len(found), name
    scored = read_conversations(
        instructions / "open-chinese-alpaca/data_v3/alpaca_chinese_part_32.json"
    )
    scores = {c.score for c in scored if isinstance(c, Conversation)}
    assert scores and scores <= {None, 1, 2, 3, 4, 5}


def test_real_preferences(instructions: Path) -> None:
    for name, counts in REAL_PAIRS.items():
        found = list(read_preferences(instructions / name))
        pairs = sum(isinstance(p, Preference) for p in found)
        assert (pairs, len(found) - pairs) == counts, name
