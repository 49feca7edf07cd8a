"""Shards are cut by bytes of text, wherever the files and the readers' runs end."""

from __future__ import annotations

import errno
import itertools
import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from langraft.corpus import reading
from langraft.corpus.collected import Reader, load
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.plan import plan_of
from langraft.corpus.reading import read_unit
from langraft.corpus.shard import clean_part, load_texts, store_texts
from langraft.recipe import Corpus

PLAIN = Corpus.model_validate(
    {
        "sources": [{"name": "zh", "paths": ["*.jsonl"], "language": "zh"}],
        "clean": {"normalise": "none", "ftfy": False},
    }
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.lists(st.lists(st.text("中a", max_size=30), min_size=1, max_size=9), min_size=1, max_size=3),
    st.integers(1, 60),
)
def test_every_shard_but_the_last_is_just_full(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    files: list[list[str]],
    size: int,
) -> None:
    monkeypatch.setattr(reading, "PART_BYTES", size)
    folder = tmp_path_factory.mktemp("reading")
    for number, texts in enumerate(files):
        lines = (json.dumps({"text": text}) + "\n" for text in texts)
        (folder / f"{number}.jsonl").write_text("".join(lines))
    plan = plan_of(PLAIN, "zh", folder, folder / "work")
    names = json.loads(read_unit(plan, plan.units()[0]))["parts"]
    shards = [load_texts(plan.work / "read", name) for name in names]
    for shard in shards[:-1]:
        assert len(shard.data) >= size > len(shard.data) - shard.sizes[-1]
    assert list(itertools.chain(*shards)) == list(itertools.chain(*files))
    places: list[tuple[int, int]] = []
    for name in names:
        with np.load(plan.work / "read" / f"{name}.npz") as stored:
            places += zip(stored["files"].tolist(), stored["lines"].tolist(), strict=True)
    assert places == [(n, at) for n, texts in enumerate(files) for at in range(1, 1 + len(texts))]


def test_texts_are_gathered_from_their_shards_empty_ones_too(tmp_path: Path) -> None:
    plan = plan_of(PLAIN, "zh", _one_file(tmp_path), tmp_path)
    shards = [["一", "", "二三"], ["", ""], ["四"]]
    for number, texts in enumerate(shards):
        many = len(texts)
        store_texts(
            tmp_path / "clean",
            f"000-{number}",
            Texts.of(texts),
            files=np.zeros(many, np.int32),
            lines=np.arange(many),
            keys=np.zeros((many, 2), np.uint64),
            scores=np.zeros(many),
            notes=np.zeros(many + 1, np.int64),
            rows=np.arange(many),
        )
    documents = load(tmp_path / "clean", [f"000-{number}" for number in range(3)])
    assert list(Reader(plan, documents).texts()) == list(itertools.chain(*shards))
    assert documents.places(plan.names, [2, 5]) == ["a.jsonl:2", "a.jsonl:0"]


@pytest.mark.parametrize("links", [True, False])
def test_texts_that_no_step_changed_are_not_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Dropped ones stay in the file, and are not among the documents."""
    wrong = OSError(errno.EPERM, "this disk has no links")
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", Mock(side_effect=wrong))
    texts = ["好的文章。" * 20, "短", "又一篇文章。" * 20]
    lines = (json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "a.jsonl").write_text("".join(lines))
    rules = PLAIN.model_copy(
        update={"rules": "any", "thresholds": {"max_repeated_20gram_share": 1}}
    )
    plan = plan_of(rules, "zh", tmp_path, tmp_path)
    (part,) = json.loads(read_unit(plan, plan.units()[0]))["parts"]
    clean_part(plan, part)
    read, clean = (tmp_path / folder / f"{part}.text" for folder in ("read", "clean"))
    assert clean.samefile(read) is links
    assert clean.read_text() == "".join(texts)
    documents = load(tmp_path / "clean", [part])
    assert list(Reader(plan, documents).texts()) == texts[::2]
    assert documents.places(plan.names) == ["a.jsonl:1", "a.jsonl:3"]


def _one_file(folder: Path) -> Path:
    (folder / "a.jsonl").write_text('{"text": "x"}\n')
    return folder
