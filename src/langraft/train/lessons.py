"""What new rows learn from: texts in the extended tokenizer's ids with a hidden state at each id.

The base reads a text in its own tokens; its states at the last base token of every new piece say
what a model that reads the new piece should have there (Token Distillation, arXiv 2505.20133).
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from langraft.core.io import PARTIAL, disk_errors
from langraft.core.messages import bar
from langraft.data.pack import Batch, assemble
from langraft.data.shards import Frame
from langraft.tokenizer.encoder import Encoder
from langraft.tokenizer.segments import align
from langraft.train.objectives import packed_hidden
from langraft.train.precision import Device

LESSON_CHARACTERS = 150  # short ones show more of the rare pieces, and cost less attention
READING_CHARACTERS = 500
AT_ONCE_CHARACTERS = 1_500
SAMPLE_CHARACTERS = 2_000_000


@dataclasses.dataclass(frozen=True)
class Lessons:
    """Texts in the extended tokenizer's ids, and a hidden state at each of them.

    Attributes:
        ids: each text opened by the frame's start, laid end to end, shape (N,).
        edges: where each text starts, and N, shape (texts + 1,).
        states: bfloat16, shape (N, D).
    """

    ids: Tensor
    edges: Tensor
    states: Tensor

    def inner(self) -> Tensor:
        """Positions that a token of the same text follows."""
        last = torch.zeros(self.ids.numel(), dtype=torch.bool)
        last[self.edges[1:] - 1] = True
        return torch.nonzero(~last)[:, 0]

    def batch(self, chosen: Sequence[int]) -> Batch:
        """The packed texts of these numbers."""
        return assemble([[self.ids[self.edges[i] : self.edges[i + 1]].numpy()] for i in chosen])

    def targets(self, chosen: Sequence[int]) -> Tensor:
        """The states of these texts, laid end to end as `batch` does."""
        return torch.cat([self.states[self.edges[i] : self.edges[i + 1]] for i in chosen])


@dataclasses.dataclass(frozen=True)
class Reader:
    """How the base is made to read.

    Attributes:
        base, extended: the two tokenizers.
        frame: the tokens around a document.
        texts: documents in the new language.
        device: where the base computes.
        seed: decides the order of reading and learning.
        old_texts: documents in languages that the base knows, in which no new piece occurs.
    """

    base: Encoder
    extended: Encoder
    frame: Frame
    texts: Sequence[str]
    device: Device
    seed: int
    old_texts: Sequence[str] = ()


@contextlib.contextmanager
def shallow(model: PreTrainedModel, depth: int) -> Iterator[None]:
    """`model` cut off after `depth` layers, its last norm left out (LLaMA-family modules)."""
    body = model.base_model
    layers, norm = body.layers, body.norm
    if depth < len(layers):
        body.layers, body.norm = layers[:depth], nn.Identity()
    try:
        yield
    finally:
        body.layers, body.norm = layers, norm


@contextlib.contextmanager
def cast_once(model: PreTrainedModel, device: Device) -> Iterator[None]:
    """The frozen body's linear layers as autocast would cast them anew for every batch: the same
    results, less work. They are themselves again afterwards.
    """
    casting = device.bf16 and device.cast
    layers = [m for m in model.base_model.modules() if casting and isinstance(m, nn.Linear)]
    weights = [layer.weight.data for layer in layers]
    try:
        for layer in layers:
            layer.weight.data = layer.weight.data.to(torch.bfloat16)
        yield
    finally:
        for layer, weight in zip(layers, weights, strict=True):
            layer.weight.data = weight


def lesson_texts(texts: Sequence[str], seed: int, size: int) -> list[str]:
    """The texts cut into pieces of at most `size` characters, at line ends where possible, in an
    order that the seed decides.
    """
    found = []
    for text in texts:
        current = ""
        for line in text.splitlines(keepends=True):
            current += line
            while len(current) >= size:
                found.append(current[:size])
                current = current[size:]
        if len(current) > size // 10:
            found.append(current)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(found))
    return [found[i] for i in order]


def _sample(reader: Reader, size: int, wanted: int = 0) -> tuple[list[str], list[list[int]]]:
    """Texts of `size` characters, as many as `wanted` tokens can be chosen from, and their ids."""
    most = max(SAMPLE_CHARACTERS, 8 * wanted) // size
    texts = lesson_texts(reader.texts, reader.seed, size)[:most]
    return texts, reader.extended.encode_batch(texts)


def occurrences(reader: Reader) -> Tensor:
    """How often each id of the extended tokenizer occurs in a sample of the texts, shape (ids,)."""
    _, encoded = _sample(reader, READING_CHARACTERS)
    flat = np.fromiter(itertools.chain.from_iterable(encoded), np.int64)
    return torch.bincount(torch.from_numpy(flat), minlength=reader.extended.size)


def covering(encoded: Sequence[Sequence[int]], first: int, tokens: int) -> list[int]:
    """The numbers of texts of about `tokens` tokens together that show the new pieces often and
    evenly: drawn at random, a fifth of 4,000 pieces would not occur in 24,000 tokens.

    One more sight of a piece seen k times is worth sqrt(its occurrences) / ((k + 1) (k + 2)); the
    texts that are worth most a token are taken, some at a time.

    Args:
        first: the new pieces' first id.
    """
    lengths = np.array([len(ids) for ids in encoded])
    flat = np.fromiter(itertools.chain.from_iterable(encoded), np.int64)
    count = max(int(flat.max(initial=0)) - first, 0) + 1
    pieces = np.where(flat >= first, flat - first, count)  # `count` stands for all old ids
    weights = np.sqrt(np.bincount(pieces, minlength=count + 1))
    weights[count] = 0.0
    edges = np.concatenate([[0], np.cumsum(lengths)])
    seen, found, left = np.zeros(count + 1), list[int](), tokens
    free = lengths > 0
    while left > 0 and free.any():
        values = weights / ((seen + 1) * (seen + 2))
        worth = np.zeros(len(encoded))
        worth[lengths > 0] = np.add.reduceat(values[pieces], edges[:-1][lengths > 0])
        worth = np.where(free, worth / (lengths + 1), -1.0)
        for number in np.argsort(-worth, kind="stable")[: 1 + tokens // 8_000]:
            if free[number] and left > 0:
                free[number] = False
                found.append(int(number))
                left -= int(lengths[number]) + 1
                np.add.at(seen, pieces[edges[number] : edges[number + 1]], 1)
    return found


def observe(model: PreTrainedModel, reader: Reader, positions: int) -> Lessons:
    """The base reads in its own tokens; its states are kept where a new-segmentation token ends.

    `model` is cut off at the depth whose states are wanted. Stops after `positions` states, or
    when the texts do, which are chosen to cover the new pieces.
    """
    texts, encoded = _sample(reader, LESSON_CHARACTERS, positions)
    chosen = [texts[number] for number in covering(encoded, reader.base.size, positions)]

    def lesson(text: str) -> tuple[list[int], list[int], list[int]]:
        old, new = reader.base.encode(text), reader.extended.encode(text)
        return old, new, [0, *(1 + end for end in align(old, new, reader.base, reader.extended))]

    return _read(model, reader, positions, "the base reads", chosen, lesson)


def recite(
    model: PreTrainedModel, reader: Reader, documents: Sequence[str], positions: int
) -> Lessons:
    """The grafted model reads in the new tokens; all its last states are kept."""

    def lesson(text: str) -> tuple[list[int], list[int], list[int]]:
        new = reader.extended.encode(text)
        return new, new, list(range(len(new) + 1))

    texts = lesson_texts(documents, reader.seed, READING_CHARACTERS)
    return _read(model, reader, positions, "the new model reads", texts, lesson)


def _read(
    model: PreTrainedModel,
    reader: Reader,
    positions: int,
    name: str,
    texts: Sequence[str],
    lesson: Callable[[str], tuple[list[int], list[int], list[int]]],
) -> Lessons:
    """Feed the first ids of each `lesson`, keep the states at its places beside its second ids."""
    ids: list[int] = []
    edges, kept = [0], []
    several = max(1, AT_ONCE_CHARACTERS // max(map(len, texts), default=1))
    with bar("positions") as progress, torch.no_grad(), reader.device.autocast():
        task = progress.add_task(name, total=positions, note="")
        for first in range(0, len(texts), several):
            found = [lesson(text) for text in texts[first : first + several]]
            batch = assemble([[np.array([reader.frame.start, *fed])] for fed, _, _ in found])
            states = packed_hidden(model, batch, reader.device).to("cpu", torch.bfloat16)
            for begin, (_, new, places) in zip(batch.boundaries.tolist(), found, strict=False):
                kept.append(states[begin + torch.tensor(places)])
                ids += [reader.frame.start, *new]
                edges.append(len(ids))
            progress.update(task, completed=min(len(ids), positions))
            if len(ids) >= positions:
                break
    return Lessons(torch.tensor(ids), torch.tensor(edges), torch.cat(kept))


def kept(path: Path, make: Callable[[], Lessons]) -> Lessons:
    """The lessons of an earlier, killed call, or new ones, which are kept."""
    if not path.exists():
        temporary = path.with_name(path.name + PARTIAL)
        with disk_errors(path):
            save_file(dataclasses.asdict(make()), temporary)
            temporary.replace(path)
    return Lessons(**load_file(path))
