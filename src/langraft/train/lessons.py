"""What new rows learn from: texts in the extended tokenizer's ids with a hidden state at each id.

The base reads a text in its own tokens; its states at the last base token of every new piece say
what a model that reads the new piece should have there (Token Distillation, arXiv 2505.20133).
"""

from __future__ import annotations

import contextlib
import dataclasses
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

LESSON_CHARACTERS = 500
LESSONS_AT_ONCE = 3


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
    """

    base: Encoder
    extended: Encoder
    frame: Frame
    texts: Sequence[str]
    device: Device
    seed: int


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


def lesson_texts(texts: Sequence[str], seed: int) -> list[str]:
    """The texts cut into pieces of at most LESSON_CHARACTERS, at line ends where possible, in an
    order that the seed decides.
    """
    found = []
    for text in texts:
        current = ""
        for line in text.splitlines(keepends=True):
            current += line
            while len(current) >= LESSON_CHARACTERS:
                found.append(current[:LESSON_CHARACTERS])
                current = current[LESSON_CHARACTERS:]
        if len(current) > LESSON_CHARACTERS // 10:
            found.append(current)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(found))
    return [found[i] for i in order]


def observe(model: PreTrainedModel, reader: Reader, positions: int) -> Lessons:
    """The base reads in its own tokens; its states are kept where a new-segmentation token ends.

    `model` is cut off at the depth whose states are wanted. Stops after `positions` states, or
    when the texts do.
    """

    def lesson(text: str) -> tuple[list[int], list[int], list[int]]:
        old, new = reader.base.encode(text), reader.extended.encode(text)
        return old, new, [0, *(1 + end for end in align(old, new, reader.base, reader.extended))]

    return _read(model, reader, positions, "the base reads", lesson)


def recite(model: PreTrainedModel, reader: Reader, positions: int) -> Lessons:
    """The grafted model reads in the new tokens; all its last states are kept."""

    def lesson(text: str) -> tuple[list[int], list[int], list[int]]:
        new = reader.extended.encode(text)
        return new, new, list(range(len(new) + 1))

    return _read(model, reader, positions, "the new model reads", lesson)


def _read(
    model: PreTrainedModel,
    reader: Reader,
    positions: int,
    name: str,
    lesson: Callable[[str], tuple[list[int], list[int], list[int]]],
) -> Lessons:
    """Feed the first ids of each `lesson`, keep the states at its places beside its second ids."""
    ids: list[int] = []
    edges, kept = [0], []
    texts = lesson_texts(reader.texts, reader.seed)
    with bar("positions") as progress, torch.no_grad(), reader.device.autocast():
        task = progress.add_task(name, total=positions, note="")
        for first in range(0, len(texts), LESSONS_AT_ONCE):
            found = [lesson(text) for text in texts[first : first + LESSONS_AT_ONCE]]
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
