"""Starts of new rows tried on one grafted model: made, scored before any training, kept, and the
best one taken.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from langraft.core.errors import BadInput
from langraft.core.io import disk_errors, read_json, remove, write_json
from langraft.graft.rows import unlikely_row
from langraft.graft.starts import Knowledge, start_rows
from langraft.recipe.graft import AUTO, INPUTS, Distil, parts_of
from langraft.train.distil import INPUT, LESSONS, OUTPUT, distil_input, fit_output, read_states
from langraft.train.fit import Fit
from langraft.train.lessons import Lessons, Reader, occurrences
from langraft.train.regression import CHUNK_ROWS, conditional_rows

STARTS, STATES = "starts", "states"
OLD_RISE = 0.01
APART = 20
Bits = Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Bed:
    """A model with room for new rows, and what they are made from.

    Attributes:
        model: the base's rows, then one for each piece, then padding; changed in place.
        known: what the pure methods go by.
        base_rows: the base tokenizer's size: where the new rows begin.
        reader: the text that `distil` and `fit` learn from; None without one.
        settings: theirs.
        folder: keeps what a killed run goes on from.
        metrics: the run's metrics file.
    """

    model: PreTrainedModel
    known: Knowledge
    base_rows: int
    reader: Reader | None
    settings: Distil
    folder: Path
    metrics: Path

    @property
    def rows(self) -> slice:
        """The new rows of both matrices."""
        return slice(self.base_rows, self.base_rows + len(self.known.subtokens))

    @property
    def tied(self) -> bool:
        """Whether one matrix is both."""
        return self.model.get_input_embeddings().weight is self.model.get_output_embeddings().weight

    def matrix(self, *, output: bool) -> Tensor:
        """The input or the output matrix."""
        model = self.model
        return (
            model.get_output_embeddings() if output else model.get_input_embeddings()
        ).weight.data


def set_apart(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The texts that starts may learn from, and every APARTth, which judges them.

    Fewer documents than that are cut: their last tenths judge.
    """
    if len(texts) >= APART:
        return (
            [text for number, text in enumerate(texts) if number % APART],
            list(texts[::APART]),
        )
    edges = [len(text) * 9 // 10 for text in texts]
    pairs = list(zip(texts, edges, strict=True))
    return [t[:edge] for t, edge in pairs], [t[edge:] for t, edge in pairs]


def possible(known: Knowledge, reader: Reader | None) -> list[str]:
    """Every method whose needs are met: what `auto` tries."""
    needs = {
        "align": known.translations is not None,
        "focus": known.vectors is not None,
        "omp": known.vectors is not None,
        "distil": reader is not None,
    }
    return [name for name in INPUTS if needs.get(name, True)]


def apart(start: str) -> bool:
    """Whether `start` gives a piece different rows in the two matrices of a tied model."""
    if start == AUTO:
        return True
    first, second = parts_of(start)
    return first != second or first in ("weighted", "align", "random")


def plant(bed: Bed, start: str) -> dict[str, Any]:
    """Give the model's new rows the start `INPUT/OUTPUT`; nothing else of it changes but padding.

    In a tied model the input method makes the rows of both.

    Returns:
        what the learning methods read and lost.

    Raises:
        BadInput: the start needs a text, or a second matrix, that is not there.
    """
    first, second = parts_of(start)
    if bed.tied and "/" in start and first != second:
        raise BadInput(
            f"init {start!r}: a tied model has one row a piece; untie it (--untie, `untie: true`)"
        )
    if bed.reader is None and {first, second} & {"distil", "fit", "conditional"}:
        raise BadInput(f"init {start!r}: learns from text in the new language; give one (--text)")
    results = _plant_input(bed, first)
    if not bed.tied:
        results |= _plant_output(bed, first, second)
    bed.model.requires_grad_(True)
    return results


def _plant_input(bed: Bed, method: str) -> dict[str, Any]:
    matrix = bed.matrix(output=False)
    base = matrix[: bed.base_rows]
    if method != "distil":
        matrix[bed.rows] = start_rows(method, base, bed.known, output=False).to(matrix.dtype)
        return {}
    assert bed.reader is not None
    start = start_rows("subtoken-mean", base, bed.known, output=False)
    rows, numbers = distil_input(
        bed.model, start, bed.reader, bed.settings, bed.folder, bed.metrics
    )
    bed.matrix(output=False)[bed.rows] = rows.to(matrix)  # the model may have moved
    return {"positions": numbers.pop("positions"), "input_rows": numbers}


def _plant_output(bed: Bed, first: str, method: str) -> dict[str, Any]:
    head = bed.matrix(output=True)
    base = head[: bed.base_rows]
    if method not in ("fit", "conditional"):
        head[bed.rows] = start_rows(method, base, bed.known, output=True).to(head.dtype)
        head[bed.rows.stop :] = base.float().mean(0).to(head.dtype)
        return {}
    reader = bed.reader
    assert reader is not None
    states = _states(bed, first, reader.texts, bed.settings.output_positions)
    head = bed.matrix(output=True)
    old = head[: bed.base_rows].cpu().float()
    results: dict[str, Any] = {}
    pieces = bed.known.subtokens
    rows = conditional_rows(old, pieces, states.states, occurrences(reader))
    if method == "fit":
        name = OUTPUT if first == "distil" else f"{OUTPUT} after {first}"
        steps, lr = bed.settings.output_steps, bed.settings.output_lr
        silent = None
        if reader.old_texts and bed.settings.old_positions:
            # old pieces only, so that these states are the same after every input method
            silent = _states(bed, "old", reader.old_texts, bed.settings.old_positions)
            results["old_positions"] = silent.ids.numel()
        fit = Fit(name, steps, lr, bed.folder, bed.metrics)
        there = old.to(reader.device.name)
        rows, numbers = fit_output(rows, there, states, bed.settings, fit, reader.seed, silent)
        results |= {"output_positions": numbers.pop("positions"), "output_rows": numbers}
    head[bed.rows] = rows.to(head)
    spread = states.states[:: -(-len(states.states) // CHUNK_ROWS)]  # over all texts
    head[bed.rows.stop :] = unlikely_row(old, spread).to(head)
    return results


def _states(bed: Bed, name: str, texts: Sequence[str], positions: int) -> Lessons:
    assert bed.reader is not None
    folder = bed.folder / STATES
    folder.mkdir(exist_ok=True)
    return read_states(bed.model, bed.reader, texts, positions, folder / f"{name}.safetensors")


def choose(
    bed: Bed,
    starts: Sequence[str],
    score: Callable[[PreTrainedModel], dict[str, float]],
    base_bits: Bits,
    new: Sequence[str],
) -> tuple[str, list[dict[str, Any]]]:
    """Plant and score each of `starts`, leave the best one in the model, and return its name with
    the table, best first. What is done is kept, so a killed call goes on.

    The best has the lowest mean bits per byte over the texts `new`, among those that raise no
    other text's by more than OLD_RISE over the base (among all, when none keeps to it).

    Args:
        score: bits per byte of a model by text.
        base_bits: the same of the untouched base.
    """
    folder = bed.folder / STARTS
    folder.mkdir(exist_ok=True)
    table = []
    for start in starts:
        place = folder / start.replace("/", " then ")
        if not (place / "score.json").exists():
            _try(bed, start, score, place)
        table.append({"start": start, **read_json(place / "score.json")})
    table.sort(key=lambda row: _rank(row["bits"], base_bits, new))
    best = table[0]["start"]
    _restore(bed, folder / best.replace("/", " then "))
    return best, table


def _rank(bits: Bits, base: Bits, new: Sequence[str]) -> tuple[bool, float]:
    rises = [bits[name] / base[name] - 1 for name in bits if name not in new]
    return any(rise > OLD_RISE for rise in rises), sum(bits[name] for name in new)


def _try(
    bed: Bed, start: str, score: Callable[[PreTrainedModel], dict[str, float]], place: Path
) -> None:
    begun = time.monotonic()
    results = plant(bed, start)
    seconds = time.monotonic() - begun
    bits = score(bed.model)
    remove(place)
    place.mkdir()
    tensors = {"input": bed.matrix(output=False)[bed.base_rows :].contiguous().cpu()}
    if not bed.tied:
        tensors["output"] = bed.matrix(output=True)[bed.base_rows :].contiguous().cpu()
    with disk_errors(place):
        save_file(tensors, place / "rows.safetensors")
    write_json(
        place / "score.json", {"bits": bits, "seconds": round(seconds, 1), "learnt": results}
    )


def _restore(bed: Bed, place: Path) -> None:
    tensors = load_file(place / "rows.safetensors")
    for output in (False, True):
        matrix = bed.matrix(output=output)
        matrix[bed.base_rows :] = tensors["output" if output and not bed.tied else "input"].to(
            matrix
        )


def forget(folder: Path) -> None:
    """Remove what trying starts kept in `folder`, once the model is safe."""
    for place in folder.glob(f"{OUTPUT}*"):
        remove(place)
    for name in (STARTS, STATES, LESSONS, INPUT):
        remove(folder / name)
