"""Rows that start well: input rows by token distillation, output rows by regression.

The base reads the text in its own tokens; its hidden states at the last base token of every new
piece say what a model that reads the new piece should have there (Token Distillation, arXiv
2505.20133). A few layers are enough, which makes it cheap. Then the model reads the text in the new
tokens, and the output rows are fitted on the states it really has: a convex problem without
backpropagation through the model.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from langraft.core.io import PARTIAL, disk_errors, read_json, remove, write_json
from langraft.core.messages import bar
from langraft.core.metrics import MetricsLog
from langraft.data.pack import Batch, assemble
from langraft.data.shards import Frame
from langraft.graft.rows import unlikely_row
from langraft.recipe import Distil
from langraft.tokenizer.encoder import Encoder
from langraft.tokenizer.segments import align
from langraft.train import attention
from langraft.train.engine import Loop, StepWork, drop_checkpoint, run_loop
from langraft.train.optim import Optimiser
from langraft.train.precision import Device
from langraft.train.pretrain import packed_hidden

LESSON_CHARACTERS = 500
LESSONS_AT_ONCE = 3
LESSONS, STATES = "lessons.safetensors", "states.safetensors"
INPUT, OUTPUT = "input rows", "output rows"
ROWS, NUMBERS = "rows.safetensors", "numbers.json"
CHUNK_ROWS = 1_024
UNCLIPPED = 1e9
BETAS = (0.9, 0.99)


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


def distil_rows(
    model: PreTrainedModel,
    pieces: Sequence[Sequence[int]],
    reader: Reader,
    settings: Distil,
    folder: Path,
    metrics: Path,
) -> dict[str, Any]:
    """Learn the new rows of an untied, grafted `model` in place; nothing else changes.

    Args:
        model: has the base's rows and, after them, a row for each of `pieces`.
        pieces: the base ids that spell each new piece.
        folder: keeps what a killed run goes on from.
        metrics: the run's metrics file.

    Returns:
        positions read for both fits, and their losses.
    """
    rows = slice(reader.extended.size - len(pieces), reader.extended.size)
    model.to(reader.device.name).set_attn_implementation(attention.register())
    model.requires_grad_(False)
    embedding = model.get_input_embeddings().weight.data
    head = model.get_output_embeddings().weight.data
    fit = Fit(INPUT, settings.steps, settings.lr, folder, metrics)
    with shallow(model, settings.depth):
        lessons = _kept(folder / LESSONS, lambda: observe(model, reader, settings.positions))
        embedding[rows], inputs = fit(
            embedding[rows],
            lambda new: input_work(new, model, embedding[: rows.start], lessons, settings, reader),
        )
    states = _kept(folder / STATES, lambda: recite(model, reader, settings.output_positions))
    old = head[: rows.start].cpu()  # this fit is small enough for the processor
    start = conditional_rows(old, pieces, states)
    fit = Fit(OUTPUT, settings.output_steps, settings.output_lr, folder, metrics)
    head[rows], outputs = fit(
        start, lambda new: output_work(new, start, old, states, settings, reader.seed)
    )
    head[rows.stop :] = unlikely_row(old, states.states[:CHUNK_ROWS])
    model.requires_grad_(True)
    read = {"positions": lessons.ids.numel(), "output_positions": states.ids.numel()}
    return {**read, "input_rows": inputs, "output_rows": outputs}


def forget_lessons(folder: Path) -> None:
    """Remove what `distil_rows` kept in `folder`, once the model is safe there."""
    for name in (LESSONS, STATES, INPUT, OUTPUT):
        remove(folder / name)


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


def _kept(path: Path, make: Callable[[], Lessons]) -> Lessons:
    """The lessons of an earlier, killed call, or new ones, which are kept."""
    if not path.exists():
        temporary = path.with_name(path.name + PARTIAL)
        with disk_errors(path):
            save_file(dataclasses.asdict(make()), temporary)
            temporary.replace(path)
    return Lessons(**load_file(path))


def conditional_rows(head_VD: Tensor, pieces: Sequence[Sequence[int]], lessons: Lessons) -> Tensor:
    """Where output rows start: the first sub-token's row, lowered by how rarely the rest follows.

    p(piece) = p(first sub-token) p(rest | first). The first factor has the first sub-token's row;
    the log of the second, taken as a constant, is added along the direction on which every state
    projects to about one: mean / |mean|^2.

    Args:
        head_VD: the base's output matrix, shape (V, D).

    Returns:
        shape (pieces, D).
    """
    vocabulary = head_VD.shape[0]
    counts = torch.bincount(lessons.ids, minlength=vocabulary + len(pieces)).float()
    firsts = torch.tensor([ids[0] for ids in pieces])
    new = counts[vocabulary : vocabulary + len(pieces)]
    opened = counts[:vocabulary].scatter_add(0, firsts, new)
    share = torch.log((new + 0.5) / (opened[firsts] + 1.0 + 0.005 * len(pieces)))
    mean = lessons.states.float().mean(0)
    return head_VD[firsts] + share[:, None] * (mean / (mean @ mean))


@dataclasses.dataclass(frozen=True)
class Fit:
    """Learning one matrix of rows with the engine; a finished one is kept for a killed run.

    Attributes:
        name: shown on the bar, and the name of its folder and its records.
        steps, lr: Adam's steps and peak rate, decayed linearly.
        folder: where its own folder is.
        metrics: the run's metrics file.
    """

    name: str
    steps: int
    lr: float
    folder: Path
    metrics: Path

    def __call__(
        self, start: Tensor, work: Callable[[nn.Parameter], Callable[[int], StepWork]]
    ) -> tuple[Tensor, dict[str, Any]]:
        """The learnt rows and the loop's numbers; `work` makes the steps from the rows that
        learn.
        """
        folder = self.folder / self.name
        done = folder / ROWS
        if not done.exists():
            folder.mkdir(exist_ok=True)
            rows = nn.Parameter(start.clone())
            loop = Loop(self.name, self.steps, warmup=0.0, decay=1.0, clip=UNCLIPPED)
            learner = Optimiser({"rows": rows}, self.lr, betas=BETAS)
            log = MetricsLog(self.metrics, f"graft, {self.name}")
            numbers = run_loop(loop, work(rows), learner, folder, log)
            temporary = folder / (ROWS + PARTIAL)
            with disk_errors(done):
                save_file({"rows": rows.detach()}, temporary)
                write_json(folder / NUMBERS, numbers)
                temporary.replace(done)
            drop_checkpoint(folder)
        return load_file(done)["rows"], read_json(folder / NUMBERS)


def output_work(
    new: nn.Parameter,
    start: Tensor,
    old_VD: Tensor,
    lessons: Lessons,
    settings: Distil,
    seed: int,
) -> Callable[[int], StepWork]:
    """Softmax regression of the next token on the states, old rows frozen, pulled to `start`.

    What the old rows add to each position's softmax never changes, so it is computed once: every
    step sees the whole vocabulary exactly, at the cost of the new rows.
    """
    at = lessons.inner()
    states, targets = lessons.states[at], lessons.ids[at + 1]
    first, count = old_VD.shape[0], settings.output_batch
    old_mass, old_gold = _old_rows(states, old_VD, targets)
    ridge = settings.ridge * count / len(at)

    def loss(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        chosen = torch.randint(len(at), (count,), generator=generator)
        logits = (states[chosen] @ new.to(states.dtype).T).float()
        mass = torch.logaddexp(logits.logsumexp(-1), old_mass[chosen])
        target = targets[chosen]
        own = logits.gather(1, (target - first).clamp(min=0)[:, None])[:, 0]
        gold = torch.where(target >= first, own, old_gold[chosen])
        return (mass - gold).sum() + ridge * (new - start).square().sum()

    return lambda step: StepWork([partial(loss, step)], count, count)


def _old_rows(states_ND: Tensor, old_VD: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """The old rows' log-sum-exp at each position, and the logit of its target where that is an old
    row.
    """
    head = old_VD.to(states_ND.dtype)
    mass, gold = torch.empty(len(states_ND)), torch.empty(len(states_ND))
    known = targets_N.clamp(max=len(old_VD) - 1)[:, None]
    for start in range(0, len(states_ND), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        logits = (states_ND[rows] @ head.T).float()
        mass[rows] = logits.logsumexp(-1)
        gold[rows] = logits.gather(1, known[rows])[:, 0]
    return mass, gold


def input_work(
    new: nn.Parameter,
    model: PreTrainedModel,
    old_VD: Tensor,
    lessons: Lessons,
    settings: Distil,
    reader: Reader,
) -> Callable[[int], StepWork]:
    """Match the base's states after `depth` layers: squared error relative to the state's square,
    summed over positions.

    `model` is already cut off at that depth.
    """
    count = len(lessons.edges) - 1
    each = max(1, round(settings.batch_tokens * count / lessons.ids.numel()))
    first = old_VD.shape[0]

    def work(step: int) -> StepWork:
        chosen = [
            _shuffled(count, reader.seed, (step * each + k) // count)[(step * each + k) % count]
            for k in range(each)
        ]
        batch = lessons.batch(chosen)
        inner = torch.as_tensor(batch.position_ids > 0)

        def loss() -> Tensor:
            ids = torch.as_tensor(batch.input_ids).to(reader.device.name)
            known = F.embedding(ids.clamp(max=first - 1), old_VD)
            learnt = F.embedding((ids - first).clamp(min=0), new)
            embedded = torch.where((ids >= first)[:, None], learnt, known)
            with reader.device.autocast():
                states = packed_hidden(model, batch, reader.device, embedded).float()
            wanted = lessons.targets(chosen).to(reader.device.name).float()
            errors = (states - wanted).square().sum(-1) / wanted.square().sum(-1)
            return errors[inner.to(reader.device.name)].sum()

        return StepWork([loss], int(inner.sum()), len(batch.input_ids))

    return work


@functools.lru_cache(maxsize=2)
def _shuffled(count: int, seed: int, epoch: int) -> list[int]:
    return list(np.random.Generator(np.random.PCG64([seed, epoch])).permutation(count))
