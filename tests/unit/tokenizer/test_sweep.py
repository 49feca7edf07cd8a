"""A sweep of sizes: its costs worked by hand, its recommendation case by case, and real text."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tokenizer_bases import all_bytes_definition, held_out, lines, train_texts

from langraft.core.errors import BadInput
from langraft.core.io import write_json
from langraft.tokenizer.extend import Rules
from langraft.tokenizer.sweep import Held, Row, Shape, Sweep, read_shape, recommend, sweep, table

LLAMA = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "tie_word_embeddings": False,
}
ROW = Row(0, 1.0, 0.3, 0, 0.0, 0.0, 0.0, 1e9, 0.0, None)


def _row(size: int, rate: float, rarest: float) -> Row:
    return dataclasses.replace(ROW, size=size, new_rate=rate, rarest=rarest, saved=1 - rate)


def test_the_shape_of_llama_2(tmp_path: Path) -> None:
    """6,738,415,616 parameters, as published."""
    write_json(tmp_path / "config.json", LLAMA)
    shape = read_shape(tmp_path / "config.json")
    assert shape.parameters(32_000) == 6_738_415_616
    assert shape.parameters(32_000) - shape.operations(32_000) == 32_000 * 4096
    write_json(tmp_path / "config.json", {"hidden_size": 8})
    with pytest.raises(BadInput, match="num_hidden_layers"):
        read_shape(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("rows", "size", "why"),
    [
        ([], 0, "teaches no pieces"),
        ([_row(1000, 0.5, 99)], 0, "seen 99 times"),
        ([_row(1000, 0.95, 500)], 0, "save 5.0% of the tokens"),
        ([_row(1000, 0.6, 900), _row(2000, 0.5, 200), _row(4000, 0.45, 90)], 2000, "seen 90 times"),
        ([_row(1000, 0.6, 900), _row(2000, 0.595, 500)], 1000, "only 0.8% further"),
        ([_row(1000, 0.6, 900), _row(2000, 0.5, 500)], 2000, "the largest that was tried"),
    ],
)
def test_recommendations(rows: list[Row], size: int, why: str) -> None:
    chosen, reason = recommend([ROW, *rows])
    assert chosen == size
    assert why in reason
    assert reason.startswith("keep the base vocabulary" if not size else f"{size:,} pieces")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """Four sizes on a base of bare bytes, a budget of 50 million base tokens."""
    folder = tmp_path_factory.mktemp("bytes")
    write_json(folder / "tokenizer.json", all_bytes_definition())
    return sweep(
        folder,
        train_texts(),
        Held(held_out()[:20], lines("en", 300)),
        rules=Rules(("Han",)),
        shape=Shape(hidden=64, inner=1_000_000, tied=True),
        budget=50_000_000,
        pad_to=64,
        sizes=(2000, 500, 1000, 4000),
    )


def test_costs_of_every_size(swept: Sweep) -> None:
    base, *rows = swept.rows
    assert [row.size for row in rows] == [500, 1000, 2000, 4000]
    assert base.flops == pytest.approx(6 * (1_000_000 + 256 * 64) * 50_000_000)
    characters = 50_000_000 / base.new_rate
    for row, before in zip(rows, swept.rows, strict=False):
        assert row.new_rate < before.new_rate
        assert row.old_rate == pytest.approx(base.old_rate, rel=1e-3)  # English quotes some Han
        padded = -(-(256 + row.size) // 64) * 64
        assert row.parameters == (padded - 256) * 64
        assert row.share == row.parameters / (1_000_000 + 256 * 64)
        assert row.saved == pytest.approx(1 - row.new_rate / base.new_rate)
        assert row.flops == pytest.approx(6 * (1_000_000 + padded * 64) * characters * row.new_rate)
        assert row.flops_saved == pytest.approx(1 - row.flops / base.flops)
    assert [row.rarest for row in rows] == sorted((row.rarest for row in rows), reverse=True)
    assert rows[0].break_even is not None
    assert swept.size in (500, 1000, 2000, 4000)


def test_the_table_names_the_base(swept: Sweep) -> None:
    shown = table(swept.as_dict())
    assert shown[0][0] == "base"
    assert shown[1][0] == "500"
    assert {len(row) for row in shown} == {8}


def test_a_small_budget_keeps_the_base(tmp_path: Path) -> None:
    write_json(tmp_path / "tokenizer.json", all_bytes_definition())
    found = sweep(
        tmp_path,
        train_texts()[:50],
        Held(held_out()[:5], []),
        rules=Rules(("Han",)),
        shape=Shape(64, 1_000_000, True),
        budget=2_000,
        sizes=(500,),
    )
    assert found.size == 0
    assert "keep the base vocabulary" in found.reason


def test_what_a_sweep_refuses(tmp_path: Path) -> None:
    write_json(tmp_path / "tokenizer.json", all_bytes_definition())
    shape, rules = Shape(64, 1000, True), Rules(("Han",))
    with pytest.raises(BadInput, match="no held-out text"):
        sweep(tmp_path, ["中"], Held([""], []), rules=rules, shape=shape, budget=1)
    with pytest.raises(BadInput, match=r"sizes: \[0\]"):
        sweep(tmp_path, ["中"], Held(["中"], []), rules=rules, shape=shape, budget=1, sizes=[0])
