"""Trying starts: what each plants, which one is taken, and going on after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from random_llama import CPU, random_llama, weights
from tokenizer_bases import Extension, make_extension, train_texts
from transformers import LlamaForCausalLM

from langraft.checkpoint.folder import load_model, save_model
from langraft.core.errors import BadInput
from langraft.data.shards import Frame
from langraft.graft.rows import add_rows
from langraft.graft.starts import Knowledge, start_rows
from langraft.recipe import Distil
from langraft.tokenizer.segments import subtokens
from langraft.train.lessons import Reader
from langraft.train.starting import Bed, apart, choose, forget, plant, possible, set_apart

EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"
SETTINGS = Distil(
    positions=400,
    depth=1,
    steps=3,
    batch_tokens=300,
    output_positions=400,
    output_steps=5,
    output_batch=64,
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Extension:
    return make_extension(tmp_path_factory.mktemp("starting"), "gpt2")


def _bed(pair: Extension, folder: Path, *, tied: bool = False, text: bool = True) -> Bed:
    pieces = subtokens(pair.before, pair.after)
    model = random_llama(vocab=pair.before.size, tied=tied)
    rows = pair.after.size + 4
    model = add_rows(model, pieces, first=pair.before.size, rows=rows, untie=False)
    reader = Reader(pair.before, pair.after, Frame(0, 0), train_texts()[:6], CPU, seed=3)
    folder.mkdir(exist_ok=True)
    known = Knowledge(pieces)
    return Bed(
        model,
        known,
        pair.before.size,
        reader if text else None,
        SETTINGS,
        folder,
        folder / "metrics.jsonl",
    )


def test_what_may_be_tried() -> None:
    known = Knowledge([[1]])
    assert possible(known, None) == ["subtoken-mean", "mean", "random", "zeros", "weighted"]
    senses = Knowledge([[1]], translations=[[[2]]])
    assert "align" in possible(senses, None)
    assert not {"focus", "distil"} & set(possible(senses, None))


def test_starts_that_need_two_matrices() -> None:
    assert not any(map(apart, ("subtoken-mean", "mean", "zeros", "focus", "mean/mean")))
    assert all(map(apart, ("auto", "distil", "weighted", "align", "mean/zeros")))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("start", ["weighted", "mean", "subtoken-mean"])
def test_both_matrices_get_the_rows_of_the_method(
    pair: Extension, tmp_path: Path, start: str, tied: bool
) -> None:
    bed = _bed(pair, tmp_path, tied=tied)
    before = weights(bed.model)
    assert plant(bed, start) == {}
    after = weights(bed.model)
    for name, output in ((EMBED, False), (HEAD, True)):
        base = before[name][: pair.before.size]
        wanted = start_rows(start, base, bed.known, output=output and not tied)
        assert torch.equal(after[name][bed.rows], wanted)
        assert torch.equal(after[name][: pair.before.size], base)
    assert (bed.model.lm_head.weight is bed.model.model.embed_tokens.weight) == tied
    others = set(before) - {EMBED, HEAD}
    assert all(torch.equal(before[name], after[name]) for name in others)


def test_input_and_output_by_different_methods(pair: Extension, tmp_path: Path) -> None:
    bed = _bed(pair, tmp_path)
    plant(bed, "zeros/mean")
    assert not bed.matrix(output=False)[bed.rows].any()
    base = bed.matrix(output=True)[: pair.before.size]
    torch.testing.assert_close(bed.matrix(output=True)[bed.rows][7], base.mean(0))


def test_what_is_learnt_into_a_tied_model_is_one_row(pair: Extension, tmp_path: Path) -> None:
    bed = _bed(pair, tmp_path, tied=True)
    before = bed.matrix(output=False).clone()
    numbers = plant(bed, "distil")
    assert "output_rows" not in numbers
    assert bed.tied
    moved = (bed.matrix(output=False) - before).abs().amax(1)
    assert (moved[bed.rows] > 1e-4).float().mean() > 0.3  # the pieces that the few steps met
    assert not moved[: pair.before.size].any()


@pytest.mark.parametrize(
    ("start", "tied", "text", "message"),
    [
        ("mean/zeros", True, True, "one row a piece"),
        ("distil", False, False, "learns from text"),
        ("mean/fit", False, False, "learns from text"),
    ],
)
def test_what_cannot_be_planted(
    pair: Extension, tmp_path: Path, start: str, tied: bool, text: bool, message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        plant(_bed(pair, tmp_path, tied=tied, text=text), start)


def _norm(model: LlamaForCausalLM) -> dict[str, float]:
    """A score that depends on the rows alone: zeros are best in `zh`, whatever they are in `en`."""
    return {"zh": 1.0 + float(model.lm_head.weight.data[-50:].norm()), "en": 1.0}


def test_the_best_start_is_left_in_the_model(pair: Extension, tmp_path: Path) -> None:
    bed = _bed(pair, tmp_path)
    starts = ["random", "zeros", "weighted"]
    best, table = choose(bed, starts, _norm, {"zh": 1.0, "en": 1.0}, ["zh"])
    assert best == table[0]["start"] == "zeros"
    scores = [row["bits"]["zh"] for row in table]
    assert scores == sorted(scores)
    assert not bed.matrix(output=True)[bed.rows].any()
    forget(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_start_that_harms_the_old_language_comes_last(pair: Extension, tmp_path: Path) -> None:
    def score(model: LlamaForCausalLM) -> dict[str, float]:
        none = not model.lm_head.weight.data[-50:-4].any()
        return {"zh": 1.0 if none else 2.0, "en": 1.02 if none else 1.0}

    best, _ = choose(_bed(pair, tmp_path), ["zeros", "mean"], score, {"zh": 3, "en": 1.0}, ["zh"])
    assert best == "mean"


class Killed(BaseException):
    """Stands for the end of the process."""


def test_killed_between_starts_and_going_on(pair: Extension, tmp_path: Path) -> None:
    """What was tried is not tried again, and the outcome is the same."""
    starts, base = ["weighted", "subtoken-mean/fit", "mean"], {"zh": 1.0}
    calls: list[int] = []

    def dying(model: LlamaForCausalLM) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return {"zh": _norm(model)["zh"]}

    whole = _bed(pair, tmp_path / "whole")
    wanted = choose(whole, starts, lambda m: {"zh": _norm(m)["zh"]}, base, ["zh"])
    with pytest.raises(Killed):
        choose(_bed(pair, tmp_path / "broken"), starts, dying, base, ["zh"])
    again = _bed(pair, tmp_path / "broken")
    found = choose(again, starts, dying, base, ["zh"])
    assert len(calls) == 4
    assert found[0] == wanted[0]
    for one, two in zip(found[1], wanted[1], strict=True):
        assert (one["start"], one["bits"]) == (two["start"], two["bits"])
    for name, value in weights(whole.model).items():
        assert torch.equal(weights(again.model)[name], value), name


def test_untying_is_recorded_and_survives_a_reload(pair: Extension, tmp_path: Path) -> None:
    pieces = subtokens(pair.before, pair.after)
    model = random_llama(vocab=pair.before.size, tied=True)
    model = add_rows(model, pieces, first=pair.before.size, rows=pair.after.size, untie=True)
    bed = Bed(
        model, Knowledge(pieces), pair.before.size, None, SETTINGS, tmp_path, tmp_path / "log"
    )
    plant(bed, "weighted")
    save_model(model, tmp_path / "model")
    loaded: Any = load_model(tmp_path / "model")
    assert loaded.config.tie_word_embeddings is False
    matrices = [loaded.get_input_embeddings().weight, loaded.get_output_embeddings().weight]
    assert torch.equal(matrices[0].data, bed.matrix(output=False))
    assert torch.equal(matrices[1].data, bed.matrix(output=True))
    first = pair.before.size
    assert torch.equal(matrices[0][:first], matrices[1][:first])
    assert not torch.equal(matrices[0][first:], matrices[1][first:])


def test_texts_set_apart() -> None:
    texts = [str(number) for number in range(45)]
    learn, judge = set_apart(texts)
    assert judge == ["0", "20", "40"]
    assert sorted(learn + judge, key=int) == texts
    assert set_apart(["0123456789"]) == (["012345678"], ["9"])
