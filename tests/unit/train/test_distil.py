"""Learning new rows from the base's own hidden states."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from random_llama import CPU, random_llama, weights
from tokenizer_bases import (
    Extension,
    english_sample,
    held_out,
    make_extension,
    train_texts,
)
from torch import nn
from transformers import LlamaForCausalLM

from langraft.core.io import folder_hashes
from langraft.core.metrics import read_metrics
from langraft.data.shards import Frame
from langraft.graft.rows import add_rows, unlikely_row
from langraft.graft.starts import Knowledge
from langraft.recipe import Distil
from langraft.tokenizer.segments import subtokens
from langraft.train import attention, distil, fit
from langraft.train.fit import Moving
from langraft.train.lessons import (
    AT_ONCE_CHARACTERS,
    LESSON_CHARACTERS,
    READING_CHARACTERS,
    Lessons,
    Reader,
    cast_once,
    covering,
    lesson_texts,
    observe,
    occurrences,
    recite,
    shallow,
)
from langraft.train.precision import Device
from langraft.train.regression import conditional_rows, output_work
from langraft.train.starting import Bed, forget, plant

SETTINGS = Distil(
    positions=600,
    depth=1,
    steps=12,
    batch_tokens=300,
    lr=2e-2,
    output_positions=600,
    output_steps=20,
    output_batch=128,
    output_lr=5e-2,
    ridge=0.0,
)


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Extension:
    return make_extension(tmp_path_factory.mktemp("distil"), "gpt2")


@pytest.fixture(scope="module")
def pieces(pair: Extension) -> list[list[int]]:
    return subtokens(pair.before, pair.after)


def _reader(pair: Extension) -> Reader:
    return Reader(pair.before, pair.after, Frame(0, 0), train_texts()[:6], CPU, seed=3)


def _grafted(pair: Extension, pieces: list[list[int]]) -> LlamaForCausalLM:
    model = random_llama(vocab=pair.before.size)
    size = pair.after.size
    return add_rows(model, pieces, first=pair.before.size, rows=size + 4, untie=True)


def _lessons() -> Lessons:
    """Two texts over five old ids and two new ones."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.tensor([0, 5, 3, 6, 5, 0, 3, 2, 5])
    states = torch.randn(9, 8, generator=generator).to(torch.bfloat16)
    return Lessons(ids, torch.tensor([0, 5, 9]), states)


def test_lessons_by_hand() -> None:
    lessons = _lessons()
    assert lessons.inner().tolist() == [0, 1, 2, 3, 5, 6, 7]
    batch = lessons.batch([1, 0])
    assert batch.input_ids.tolist() == [0, 3, 2, 5, 0, 5, 3, 6, 5]
    assert batch.boundaries.tolist() == [0, 4, 9]
    wanted = torch.cat([lessons.states[5:], lessons.states[:5]])
    assert torch.equal(lessons.targets([1, 0]), wanted)


def test_lesson_texts_lose_only_short_ends() -> None:
    text = "".join(f"line {n} of the text\n" for n in range(100))
    texts = [text, "short", "x" * 1_060]
    found = lesson_texts(texts, seed=1, size=500)
    assert max(map(len, found)) == 500
    assert sum(map(len, found)) == len(text) + 1_060
    assert found == lesson_texts(texts, seed=1, size=500)
    assert found != lesson_texts(texts, seed=2, size=500)


def test_covering_by_hand() -> None:
    """Ids from 5 on are new. Worth a token, at first: 1/2, (1 + sqrt 2)/2 / 3 twice, and 0."""
    encoded = [[6], [5, 7], [5, 8], [1, 2, 3], []]
    weights = {5: math.sqrt(2), 6: 1.0, 7: 1.0, 8: 1.0}
    worth = [sum(weights.get(i, 0) / 2 for i in ids) / (len(ids) + 1) for ids in encoded]
    assert worth[1] == worth[2] > worth[0] > worth[3] == worth[4] == 0
    assert covering(encoded, 5, 3) == [1]
    assert covering(encoded, 5, 4) == [1, 0]  # 5 is known by now: (1/2 + sqrt 2 / 6) / 3 < 1/4
    assert covering(encoded, 5, 100) == [1, 0, 2, 3]
    assert covering([], 5, 100) == covering([[]], 5, 100) == []


def test_covering_shows_more_pieces_than_chance() -> None:
    """Texts of 20 ids of a Zipf distribution: chance leaves half as many more pieces out."""
    generator = np.random.Generator(np.random.PCG64(1))
    shares = 1 / np.arange(1, 1_001)
    drawn = 50 + generator.choice(1_000, size=(2_000, 20), p=shares / shares.sum())
    chosen = covering(drawn.tolist(), 50, 2_100)
    assert len(set(chosen)) == len(chosen) == 100
    unseen = [1_000 - len(np.unique(drawn[numbers])) for numbers in (chosen, range(100))]
    assert unseen[1] > 1.5 * unseen[0] > 0


def test_occurrences_are_counted_in_all_texts(pair: Extension) -> None:
    reader = _reader(pair)
    wanted = [0] * pair.after.size
    for text in lesson_texts(reader.texts, reader.seed, READING_CHARACTERS):
        for index in pair.after.encode(text):
            wanted[index] += 1
    assert occurrences(reader).tolist() == wanted


def test_conditional_rows_by_hand() -> None:
    """Piece 5 opens with id 3, seen 3 times of 6; piece 6 opens with id 3 too, seen once."""
    lessons = _lessons()
    head = torch.randn(5, 8, generator=torch.Generator().manual_seed(1))
    counts = torch.bincount(lessons.ids, minlength=7)
    found = conditional_rows(head, [[3, 1], [3, 2, 2]], lessons.states, counts)
    mean = lessons.states.float().mean(0)
    opened = 2 + 3 + 1  # id 3 itself twice, and as the opening of pieces 5 and 6
    for row, seen in enumerate((3, 1)):
        share = math.log((seen + 0.5) / (opened + 1.0 + 0.005 * 2))
        wanted = head[3] + share * mean / (mean @ mean)
        torch.testing.assert_close(found[row], wanted, atol=1e-5, rtol=1e-5)


def _regression(moving: Moving, old: torch.Tensor, ridge: float) -> tuple[torch.Tensor, int]:
    settings = SETTINGS.model_copy(update={"ridge": ridge, "output_batch": 40})
    work = output_work(moving, old, _lessons(), settings, 7)(2)
    return work.micro_batches[0](), work.count


def _chosen() -> torch.Tensor:
    generator = torch.Generator().manual_seed(7 * 1_000_003 + 2)
    return _lessons().inner()[torch.randint(7, (40,), generator=generator)]


def test_the_regression_is_cross_entropy_over_the_whole_vocabulary() -> None:
    generator = torch.Generator().manual_seed(2)
    old = torch.randn(5, 8, generator=generator)
    moving = Moving.of(torch.randn(2, 8, generator=generator))
    moving.shift.data += torch.randn(8, generator=generator)
    moving.own.data += torch.randn(2, 8, generator=generator)
    loss, count = _regression(moving, old, ridge=0.0)
    loss.backward()
    lessons, at = _lessons(), _chosen()
    twin = nn.Parameter(moving.rows().detach())
    logits = (lessons.states[at] @ torch.cat([old, twin]).to(torch.bfloat16).T).float()
    wanted = F.cross_entropy(logits, lessons.ids[at + 1], reduction="sum")
    wanted.backward()
    assert count == 40
    torch.testing.assert_close(loss / 40, wanted / 40, atol=1e-4, rtol=0)
    assert moving.own.grad is not None and twin.grad is not None
    torch.testing.assert_close(moving.own.grad / 40, twin.grad / 40, atol=2e-3, rtol=0.01)
    torch.testing.assert_close(moving.shift.grad, moving.own.grad.sum(0))


def test_the_regression_runs_where_the_old_rows_are() -> None:
    """Torch refuses a product of two devices, this one without numbers as well as a GPU."""
    moving = Moving.of(torch.randn(2, 8).to("meta"))
    work = output_work(moving, torch.randn(5, 8).to("meta"), _lessons(), SETTINGS, 7, _lessons())
    for part in work(2).micro_batches:
        part().backward()
    assert moving.own.grad is not None and moving.shift.grad is not None
    assert {moving.own.grad.device.type, moving.shift.grad.device.type} == {"meta"}


def test_old_languages_count_so_many_times() -> None:
    """Ten old positions for forty new ones, each weighing 3 x 40 / 10."""
    generator = torch.Generator().manual_seed(4)
    old = torch.randn(5, 8, generator=generator)
    moving = Moving.of(torch.randn(2, 8, generator=generator))
    states = torch.randn(5, 8, generator=generator).to(torch.bfloat16)
    silent = Lessons(torch.tensor([0, 4, 3, 1, 2]), torch.tensor([0, 2, 5]), states)
    settings = SETTINGS.model_copy(update={"output_batch": 40, "old_weight": 3.0})
    work = output_work(moving, old, _lessons(), settings, 7, silent)(2)
    alone = output_work(moving, old, _lessons(), settings, 7)(2)
    first, second = (part() for part in work.micro_batches)
    assert work.count == 40
    torch.testing.assert_close(first, alone.micro_batches[0]())
    at = torch.tensor([0, 2, 3])  # 4 and 2 end their texts
    drawn = torch.Generator().manual_seed(8 * 1_000_003 + 2)
    chosen = at[torch.randint(3, (10,), generator=drawn)]
    logits = (states[chosen] @ torch.cat([old, moving.rows()]).to(torch.bfloat16).T).float()
    wanted = F.cross_entropy(logits, silent.ids[chosen + 1], reduction="sum")
    torch.testing.assert_close(second, 3 * 40 / 10 * wanted, atol=1e-2, rtol=1e-3)


def test_the_ridge_is_a_weight_on_the_squared_distance() -> None:
    """Per position: ridge x distance^2 / positions, whatever the number drawn at a step; what all
    rows move together costs nothing.
    """
    old = torch.zeros(5, 8)
    moving = Moving.of(torch.zeros(2, 8))
    moving.own.data += 0.5
    moving.shift.data += 7.0
    without, count = _regression(moving, old, ridge=0.0)
    with_ridge, _ = _regression(moving, old, ridge=3.0)
    assert float((with_ridge - without).detach()) / count == pytest.approx(
        3.0 * 16 * 0.25 / 7, rel=1e-4
    )


def _read(reader: Reader, text: str, model: LlamaForCausalLM, base: bool) -> tuple[list[int], Any]:
    """The ids of a text, and all hidden states that eager attention gives for them."""
    ids = [0, *(reader.base if base else reader.extended).encode(text)]
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return ids, model.base_model(torch.tensor([ids]), output_hidden_states=True)


def test_the_base_is_read_at_the_ends_of_new_pieces(
    pair: Extension, pieces: list[list[int]]
) -> None:
    model, reader = _grafted(pair, pieces), _reader(pair)
    model.set_attn_implementation(attention.register())
    with shallow(model, 1):
        lessons = observe(model, reader, 600)
    texts = lesson_texts(reader.texts, reader.seed, LESSON_CHARACTERS)
    text = texts[covering(pair.after.encode_batch(texts), pair.before.size, 600)[0]]
    ids, hidden = _read(reader, text, model, base=True)
    last = int(lessons.edges[1])
    assert lessons.ids[:last].tolist() == _read(reader, text, model, base=False)[0]
    assert 600 <= lessons.ids.numel() < 600 + AT_ONCE_CHARACTERS
    seen, ends = 0, [0]
    spelt = [len(pair.before.piece_bytes(index)) for index in ids[1:]]
    for index in lessons.ids[1:last].tolist():
        width = len(pair.after.piece_bytes(index))
        while width:
            width -= spelt[seen]
            seen += 1
        ends.append(seen)
    wanted = hidden.hidden_states[1][0][ends]
    torch.testing.assert_close(lessons.states[:last].float(), wanted, atol=2e-3, rtol=2**-7)


def test_the_new_model_is_read_at_every_token(pair: Extension, pieces: list[list[int]]) -> None:
    model, reader = _grafted(pair, pieces), _reader(pair)
    model.set_attn_implementation(attention.register())
    lessons = recite(model, reader, reader.texts, 600)
    text = lesson_texts(reader.texts, reader.seed, READING_CHARACTERS)[0]
    ids, hidden = _read(reader, text, model, base=False)
    assert lessons.ids[: len(ids)].tolist() == ids
    found = lessons.states[: len(ids)].float()
    torch.testing.assert_close(found, hidden.last_hidden_state[0], atol=2e-3, rtol=2**-7)
    assert lessons.states.shape == (lessons.ids.numel(), 32)


def test_shallow_stops_after_the_layer(pair: Extension) -> None:
    model = random_llama()
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        whole = model.base_model(ids, output_hidden_states=True)
        with shallow(model, 1):
            cut = model.base_model(ids).last_hidden_state
        torch.testing.assert_close(cut, whole.hidden_states[1])
        with shallow(model, 2):
            assert torch.equal(model.base_model(ids).last_hidden_state, whole.last_hidden_state)
        assert torch.equal(model.base_model(ids).last_hidden_state, whole.last_hidden_state)


def test_weights_cast_once_give_what_autocast_gives() -> None:
    model, device = random_llama().requires_grad_(False), Device("cpu", bf16=True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = torch.tensor([[1, 2, 3]])
    with device.autocast():
        wanted = model.base_model(ids).last_hidden_state
        with cast_once(model, device):
            assert model.base_model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
            assert torch.equal(model.base_model(ids).last_hidden_state, wanted)
    assert not torch.equal(model.base_model(ids).last_hidden_state, wanted)
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, before[name])


def _distil(
    pair: Extension, pieces: list[list[int]], folder: Path, old_texts: tuple[str, ...] = ()
) -> tuple[LlamaForCausalLM, dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    model = _grafted(pair, pieces)
    reader = dataclasses.replace(_reader(pair), old_texts=old_texts)
    metrics = folder / "metrics.jsonl"
    bed = Bed(model, Knowledge(pieces), pair.before.size, reader, SETTINGS, folder, metrics)
    numbers = plant(bed, "distil")
    return model, numbers


@pytest.fixture(scope="module")
def learnt(
    pair: Extension, pieces: list[list[int]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[LlamaForCausalLM, dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("learnt")
    return *_distil(pair, pieces, folder), folder


def test_new_rows_fall_silent_where_an_old_language_is_heard(
    pair: Extension,
    pieces: list[list[int]],
    learnt: tuple[LlamaForCausalLM, dict[str, Any], Path],
    tmp_path: Path,
) -> None:
    """On other English than they heard, they take less than half of what they take otherwise."""
    heard, other = english_sample()[:-1], english_sample()[-1]
    model, numbers = _distil(pair, pieces, tmp_path, tuple(heard))
    assert 0 < numbers["old_positions"] < SETTINGS.old_positions + AT_ONCE_CHARACTERS
    ids = torch.tensor([[0, *pair.after.encode(other)[:300]]])
    shares = []
    for one in (model, learnt[0]):
        one.set_attn_implementation("sdpa")
        with torch.no_grad():
            told = one(ids).logits.softmax(-1)
        shares.append(float(told[..., pair.before.size : pair.after.size].sum(-1).mean()))
    assert shares[0] < 0.5 * shares[1]


def test_only_the_new_rows_change(
    pair: Extension, pieces: list[list[int]], learnt: tuple[LlamaForCausalLM, dict[str, Any], Path]
) -> None:
    model, before = learnt[0], weights(_grafted(pair, pieces))
    first, last = pair.before.size, pair.after.size
    for name, value in weights(model).items():
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            assert torch.equal(value[:first], before[name][:first])
            padding = value[last:] - before[name][last:]
            assert torch.equal(padding, torch.zeros_like(padding)) or name == "lm_head.weight"
            moved = (value[first:last] - before[name][first:last]).abs().amax(dim=1)
            assert (moved > 1e-3).float().mean() > 0.3
        else:
            assert torch.equal(value, before[name]), name
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert len(model.base_model.layers) == 2


def test_padding_rows_take_no_share_of_the_softmax(
    pair: Extension, learnt: tuple[LlamaForCausalLM, dict[str, Any], Path]
) -> None:
    """The four of them together take less than half their fair share."""
    model, last = learnt[0], pair.after.size
    rows = model.lm_head.weight.shape[0]
    assert rows == last + 4
    ids = torch.tensor([pair.after.encode(held_out()[0])[:200]])
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        shares = model(ids).logits.softmax(-1)
    assert float(shares[..., last:].sum(-1).mean()) < 2 / rows


def test_the_unlikely_row_by_hand() -> None:
    head = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    states = torch.tensor([[2.0, 1.0], [1.0, 2.0]])
    assert unlikely_row(head, states).tolist() == [-1.0, -1.0]


def test_both_fits_lose_less(
    learnt: tuple[LlamaForCausalLM, dict[str, Any], Path],
) -> None:
    _, numbers, folder = learnt
    records = read_metrics(folder / "metrics.jsonl")
    for name, steps in (("output rows", 20), ("input rows", 12)):
        losses = [r["loss"] for r in records if r["stage"] == f"graft, {name}"]
        assert len(losses) == steps
        assert sum(losses[-5:]) < 0.95 * sum(losses[:5]), name
        key = numbers[name.replace(" ", "_")]
        assert key["steps"] == steps
        assert key["loss_first"] == pytest.approx(losses[0], abs=1e-4)
    assert numbers["positions"] >= SETTINGS.positions
    assert numbers["output_positions"] >= SETTINGS.output_positions


def test_what_is_kept_can_be_forgotten(
    pair: Extension, pieces: list[list[int]], tmp_path: Path
) -> None:
    _distil(pair, pieces, tmp_path)
    assert {"lessons.safetensors", "states/distil.safetensors"} < set(folder_hashes(tmp_path))
    forget(tmp_path)
    assert set(folder_hashes(tmp_path)) == {"metrics.jsonl"}


VICTIMS = {
    "packed_hidden": (distil, 6),
    "output_work": (distil, 1),
    "input_work": (distil, 1),
    "run_loop": (fit, 2),
}


@pytest.mark.parametrize("victim", VICTIMS)
def test_killed_and_going_on_gives_the_same_bytes(
    pair: Extension,
    pieces: list[list[int]],
    learnt: tuple[LlamaForCausalLM, dict[str, Any], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    victim: str,
) -> None:
    """Both fits are broken off, before they begin and on the way.

    `packed_hidden` dies in the sixth step of the input fit, with a checkpoint after every step.
    """
    module, limit = VICTIMS[victim]
    whole: Callable[..., Any] = getattr(module, victim)
    calls: list[int] = []
    _checkpoint_always(monkeypatch)

    def dying(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == limit:
            raise Killed
        return whole(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, victim, dying)
        with pytest.raises(Killed):
            _distil(pair, pieces, tmp_path)
    if victim == "packed_hidden":
        assert (tmp_path / "input rows" / "checkpoint").is_dir()
    model, numbers = _distil(pair, pieces, tmp_path)
    assert all(torch.equal(weights(model)[n], v) for n, v in weights(learnt[0]).items())
    for key in ("steps", "loss_first", "loss_last"):
        for rows in ("output_rows", "input_rows"):
            assert numbers[rows][key] == learnt[1][rows][key]
    kept = ("stage", "step", "loss")
    assert [[r[k] for k in kept] for r in read_metrics(tmp_path / "metrics.jsonl")] == [
        [r[k] for k in kept] for r in read_metrics(learnt[2] / "metrics.jsonl")
    ]


def _checkpoint_always(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = fit.Loop

    def eager(*arguments: Any, **options: Any) -> fit.Loop:
        return loop(*arguments, **options, checkpoint_seconds=0.0)

    monkeypatch.setattr(fit, "Loop", eager)
