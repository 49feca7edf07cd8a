"""Sums of models: averages, spherical averages, task vectors and chat vectors.

The functions on tensors are pure; those on folders map them over checkpoints, block by block.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langraft.checkpoint.layout import (
    companion_files,
    embedding_names,
    open_model,
)
from langraft.checkpoint.reading import Checkpoint
from langraft.checkpoint.stream import StoredTensor, spans
from langraft.checkpoint.writing import require_new, write_checkpoint
from langraft.core.errors import BadInput

# Below this angle the two weights of slerp and of a straight line agree to 1e-7.
SMALLEST_ANGLE = 1e-3


def linear(blocks: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    """sum(weights[i] * blocks[i]), float32, the blocks' shape."""
    total = torch.zeros_like(blocks[0], dtype=torch.float32)
    for block, weight in zip(blocks, weights, strict=True):
        total.add_(block, alpha=weight)
    return total


def slerp_weights(dot: float, first: float, second: float, t: float) -> tuple[float, float]:
    """The weights of two vectors in their spherical average (Shoemake 1985).

    Args:
        dot, first, second: their inner product and their lengths.
        t: 0 gives the first vector, 1 the second.

    Returns:
        (weight of the first, weight of the second); a straight line where they are parallel,
        opposite or zero.
    """
    if not first or not second:
        return 1 - t, t
    angle = math.acos(max(-1.0, min(1.0, dot / (first * second))))
    if angle < SMALLEST_ANGLE or math.pi - angle < SMALLEST_ANGLE:
        return 1 - t, t
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


def task_sum(start: Tensor, vectors: Sequence[tuple[float, Tensor, Tensor]]) -> Tensor:
    """start + sum(scale * (plus - minus)) (arXiv 2212.04089), float32, the shape of `start`.

    Where `plus` and `minus` have fewer rows than `start`, the further rows stay.

    Args:
        vectors: (scale, plus, minus), both of the same shape.
    """
    total = start.to(torch.float32, copy=True)
    for scale, plus, minus in vectors:
        total[: len(plus)].add_(plus.float() - minus.float(), alpha=scale)
    return total


def average(
    models: Sequence[Path],
    out: Path,
    *,
    method: str = "linear",
    weights: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Write the average of models of one shape; configuration and tokenizer are the first's.

    Args:
        method: "linear", or "slerp" for two models, tensor by tensor.
        weights: one a model, any positive scale; equal when not given. For slerp the second's share
            is t.

    Raises:
        BadInput: names or shapes differ, a wrong number of models or weights, or an existing `out`.
    """
    require_new(out)
    shares = _shares(models, weights, method)
    opened = [open_model(folder) for folder in models]
    first = opened[0]
    for other in opened[1:]:
        _require_same(first, other)
    combine = _slerped if method == "slerp" else _averaged
    tensors = [
        combine([checkpoint.tensors[name] for checkpoint in opened], shares)
        for name in first.tensors
    ]
    made = {"by": method, "models": [str(m) for m in models], "weights": list(shares)}
    return _write(first, tensors, out, made)


def _shares(models: Sequence[Path], weights: Sequence[float] | None, method: str) -> list[float]:
    if len(models) < 2 or (method == "slerp" and len(models) != 2):
        raise BadInput(f"{method} takes {'two' if method == 'slerp' else 'two or more'} models")
    given = list(weights) if weights else [1.0] * len(models)
    if len(given) != len(models) or min(given) < 0 or not 0 < sum(given) < math.inf:
        raise BadInput(
            f"weights {given}: one a model is wanted ({len(models)}), none negative, not all zero"
        )
    return [weight / sum(given) for weight in given]


def _require_same(first: Checkpoint, other: Checkpoint) -> None:
    for name in sorted({*first.tensors, *other.tensors}):
        shapes = [
            checkpoint.tensors[name].shape if name in checkpoint.tensors else None
            for checkpoint in (first, other)
        ]
        if shapes[0] != shapes[1]:
            raise BadInput(
                f"{other.folder}: its {name!r} has shape {shapes[1]}, and that of {first.folder} "
                f"{shapes[0]}; only models of one shape are averaged"
            )


def _averaged(parts: Sequence[StoredTensor], shares: Sequence[float]) -> StoredTensor:
    first = parts[0]
    return dataclasses.replace(
        first,
        rows=lambda a, b: linear([part.rows(a, b) for part in parts], shares).to(first.dtype),
    )


def _slerped(parts: Sequence[StoredTensor], shares: Sequence[float]) -> StoredTensor:
    first, second = parts
    found: list[float] = []

    def rows(start: int, stop: int) -> Tensor:
        if not found:  # the angle is that of the whole tensors: one pass before the first row
            found.extend(slerp_weights(*_products(first, second), t=shares[1]))
        return linear([first.rows(start, stop), second.rows(start, stop)], found).to(first.dtype)

    return dataclasses.replace(first, rows=rows)


def _products(first: StoredTensor, second: StoredTensor) -> tuple[float, float, float]:
    """Inner product and lengths of two whole tensors."""
    dot = one = two = 0.0
    for start, stop in spans(first.height, first.elements):
        a, b = (part.rows(start, stop).float().flatten() for part in (first, second))
        dot, one, two = dot + float(a @ b), one + float(a @ a), two + float(b @ b)
    return dot, math.sqrt(one), math.sqrt(two)


def add_vectors(
    start: Path,
    vectors: Sequence[tuple[float, Path, Path]],
    out: Path,
    *,
    keep: Sequence[str] = (),
) -> dict[str, Any]:
    """Write start + sum(scale * (plus - minus)).

    A task vector adds what tuning gave `plus` over `minus`. The chat vector (arXiv 2310.04799) is
    the same with `start` adapted to a new language from `minus`: its added rows are in neither, and
    stay.

    Args:
        vectors: (scale, plus, minus) folders.
        keep: tensors whose name contains one of these are `start`'s own.

    Raises:
        BadInput: a tensor of `start` is missing in a vector or has another width, or `out` exists.
    """
    require_new(out)
    first = open_model(start)
    opened = [(s, open_model(plus), open_model(minus)) for s, plus, minus in vectors]
    embeddings = embedding_names(first.tensors, start)
    tensors = []
    for name, tensor in first.tensors.items():
        if any(part in name for part in keep):
            tensors.append(tensor)
            continue
        parts = [
            (scale, *_pair(tensor, plus, minus, grows=name in embeddings))
            for scale, plus, minus in opened
        ]
        tensors.append(_added(tensor, parts))
    made = {
        "by": "arithmetic",
        "start": str(start),
        "vectors": [[scale, str(plus), str(minus)] for scale, plus, minus in vectors],
        "keep": list(keep),
    }
    return _write(first, tensors, out, made)


def _pair(
    tensor: StoredTensor, plus: Checkpoint, minus: Checkpoint, *, grows: bool
) -> tuple[StoredTensor, StoredTensor]:
    """One tensor of a vector's two models, or why it does not fit `tensor`."""
    found = []
    for side in (plus, minus):
        part = side.tensors.get(tensor.name)
        if part is None or part.shape[1:] != tensor.shape[1:]:
            raise BadInput(
                f"{side.folder}: its {tensor.name!r} is {list(part.shape) if part else 'missing'}, "
                f"{list(tensor.shape)} is wanted; the models are of different kinds "
                "(--keep NAME leaves a tensor as it is)"
            )
        if part.height != tensor.height and not grows:
            raise BadInput(
                f"{side.folder}: its {tensor.name!r} has {part.height} rows, {tensor.height} are "
                "wanted; only embeddings may differ in rows"
            )
        found.append(part)
    return found[0], found[1]


def _added(
    tensor: StoredTensor, parts: Sequence[tuple[float, StoredTensor, StoredTensor]]
) -> StoredTensor:
    def rows(start: int, stop: int) -> Tensor:
        vectors = []
        for scale, plus, minus in parts:
            # a row that only one of the two has belongs to a token the other does not know
            last = max(start, min(stop, plus.height, minus.height))
            vectors.append((scale, plus.rows(start, last), minus.rows(start, last)))
        return task_sum(tensor.rows(start, stop), vectors).to(tensor.dtype)

    return dataclasses.replace(tensor, rows=rows)


def _write(
    first: Checkpoint, tensors: Sequence[StoredTensor], out: Path, made: Mapping[str, Any]
) -> dict[str, Any]:
    return write_checkpoint(
        out,
        tensors,
        config=first.config,
        files=companion_files(first.folder, first.folder),
        made=made,
    )
