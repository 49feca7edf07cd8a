"""The learning loop against Hugging Face's trainer, the applying loop against its encoder."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_bases import documents
from tokenizers import models, pre_tokenizers, trainers

from langraft.tokenizer.applying import apply_merges, rank_merges
from langraft.tokenizer.merging import GAP, Alphabet, Merges, learn_merges
from langraft.tokenizer.sequences import Sequences

SHORT = st.lists(st.text(alphabet="abcd", min_size=1, max_size=9), min_size=1, max_size=12)


def _flat(runs: Counter[str]) -> tuple[list[str], np.ndarray, np.ndarray]:
    letters = sorted(set().union(*runs))
    text = [letters.index(c) if c else GAP for run in runs for c in [*run, ""]]
    weights = [count for run, count in runs.items() for _ in range(len(run) + 1)]
    return letters, np.array(text, np.int32), np.array(weights, np.int32)


def _learn(runs: Counter[str], limit: int, longest: int = 100) -> tuple[list[str], Merges]:
    letters, text, weights = _flat(runs)
    size = len(letters)
    alphabet = Alphabet(np.ones(size, np.int32), np.ones(size, np.bool_))
    found = learn_merges(text, weights, alphabet, limit=limit, least=1, longest=longest)
    names = [*letters, *[""] * len(found.pairs)]
    for (left, right), product in zip(found.pairs, found.products, strict=True):
        names[product] = names[left] + names[right]
    return names, found


def _reference(runs: Counter[str], limit: int) -> list[tuple[str, str]]:
    letters = sorted(set().union(*runs))
    trainer = trainers.BpeTrainer(
        vocab_size=len(letters) + limit, initial_alphabet=letters, show_progress=False
    )
    engine = tokenizers.Tokenizer(models.BPE())
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.train_from_iterator((f"{run} " * count for run, count in runs.items()), trainer)
    return [tuple(pair) for pair in json.loads(engine.to_str())["model"]["merges"]]


def test_two_thousand_merges_are_those_of_hugging_faces_trainer() -> None:
    runs = Counter(
        run for text in documents("zh")[:150] for run in re.findall("[\u4e00-\u9fff]+", text)
    )
    assert len(runs) > 10_000
    names, found = _learn(runs, 2000)
    ours = [(names[left], names[right]) for left, right in found.pairs]
    assert ours == _reference(runs, 2000)


@settings(max_examples=60, deadline=None)
@given(SHORT)
def test_gains_add_up_to_the_tokens_saved(texts: list[str]) -> None:
    runs = Counter(texts)
    _, found = _learn(runs, 50)
    _, text, weights = _flat(runs)
    before = weights[text != GAP].sum()
    ends = np.flatnonzero(text == GAP) + 1
    ranks = np.arange(len(found.pairs), dtype=np.int32)
    apply_merges(text, ends, rank_merges(found.pairs, found.products, ranks))
    assert before - found.gains.sum() == _tokens_left(text, ends, runs)


def _tokens_left(text: np.ndarray, ends: np.ndarray, runs: Counter[str]) -> int:
    starts = np.concatenate([[0], ends[:-1]])
    parts = (text[start:end] for start, end in zip(starts, ends, strict=True))
    return sum(int((p >= 0).sum()) * n for p, n in zip(parts, runs.values(), strict=True))


@settings(max_examples=60, deadline=None)
@given(SHORT, SHORT)
def test_merges_are_applied_as_by_hugging_faces_encoder(
    learnt: list[str], others: list[str]
) -> None:
    names, found = _learn(Counter([*learnt, "abcd"]), 30)
    engine = tokenizers.Tokenizer(
        models.BPE(
            vocab={name: index for index, name in enumerate(dict.fromkeys(names)) if name},
            merges=[(names[left], names[right]) for left, right in found.pairs],
        )
    )
    _, text, _ = _flat(Counter([*others, "abcd"]))
    ends = np.flatnonzero(text == GAP) + 1
    ranks = np.arange(len(found.pairs), dtype=np.int32)
    apply_merges(text, ends, rank_merges(found.pairs, found.products, ranks))
    starts = np.concatenate([[0], ends[:-1]])
    for word, start, end in zip(Counter([*others, "abcd"]), starts, ends, strict=True):
        tokens = [names[index] for index in text[start:end] if index >= 0]
        assert tokens == engine.encode(word).tokens


def test_no_symbol_is_longer_than_asked() -> None:
    names, _ = _learn(Counter({"abcabc": 5}), 20, longest=3)
    assert max(map(len, names)) == 3


def test_a_pair_needs_one_symbol_that_joins() -> None:
    _, text, weights = _flat(Counter({"abc": 9}))
    alphabet = Alphabet(np.ones(3, np.int32), np.array([False, False, True]))
    found = learn_merges(text, weights, alphabet, limit=5, least=1, longest=9)
    assert found.pairs.tolist() == [[1, 2], [0, 3]]


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=300))
def test_equal_sequences_are_counted_once(lists: list[list[int]]) -> None:
    found = Sequences()
    for part in (lists[::2], lists[1::2]):
        ends = np.cumsum([len(each) for each in part], dtype=np.int64)
        starts = np.concatenate([np.zeros(1, np.int64), ends])[: len(part)]
        values = np.array([value for each in part for value in each], np.int32)
        found.add(values, starts, ends[: len(part)], np.ones(len(part), np.int64))
    wanted = Counter(tuple(each) for each in lists[::2] + lists[1::2])
    assert {tuple(values.tolist()): count for values, count in found} == wanted
    assert list(wanted) == [tuple(values.tolist()) for values, _ in found]
