"""Whether a foreign adapter was trained on this base: what its own tensors give away.

A plain LoRA says nothing about its base. Trained copies of base tensors do (training moves rows a
little, another model's rows point elsewhere), and so do DoRA's magnitudes, which start as the
lengths of the base's rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch

from langraft.checkpoint.adapter import Adapter
from langraft.checkpoint.stream import StoredTensor
from langraft.core.errors import BadInput
from langraft.core.messages import warn

SAMPLED_ROWS = 512
SAMPLED_TENSORS = 4
LEAST_COSINE = 0.5  # rows of unrelated models of width 64 and more stay below 0.3
MOST_DEVIATION = 0.5


@dataclasses.dataclass(frozen=True)
class Sign:
    """One comparison: what was compared, the median found, and whether it speaks for the base."""

    what: str
    value: float
    good: bool


def signs(adapter: Adapter, tensors: Mapping[str, StoredTensor]) -> list[Sign]:
    """Compare what the adapter holds with the base; empty when it holds nothing that tells."""
    copies = [
        (tensor, tensors[name])
        for name, tensor in adapter.replaced.items()
        if name in tensors
        and len(tensor.shape) == 2
        and tensor.shape[1:] == tensors[name].shape[1:]
    ]
    found = [_cosine(saved, old) for saved, old in copies[:SAMPLED_TENSORS]]
    lengths = [
        (part.magnitude, tensors[f"{module}.weight"])
        for module, part in adapter.low_rank.items()
        if part.magnitude is not None and not part.embedding and f"{module}.weight" in tensors
    ]
    for magnitude, old in lengths[:SAMPLED_TENSORS]:
        if magnitude.elements == old.height and not adapter.transposed:
            found.append(_deviation(magnitude, old))
    return found


def _cosine(saved: StoredTensor, old: StoredTensor) -> Sign:
    rows = min(saved.height, old.height, SAMPLED_ROWS)
    pairs = (saved.rows(0, rows).float(), old.rows(0, rows).float())
    value = float(torch.cosine_similarity(*pairs, dim=1).median())
    return Sign(f"cosine of the rows of {old.name!r} with the base's", value, value >= LEAST_COSINE)


def _deviation(magnitude: StoredTensor, old: StoredTensor) -> Sign:
    rows = min(old.height, SAMPLED_ROWS)
    lengths = torch.linalg.vector_norm(old.rows(0, rows).float(), dim=1)
    learnt = magnitude.whole().reshape(-1)[:rows].float()
    value = float((learnt / lengths - 1).abs().median())
    what = f"deviation of DoRA's magnitudes from the row lengths of {old.name!r}"
    return Sign(what, value, value <= MOST_DEVIATION)


def require_base(
    adapter: Adapter, tensors: Mapping[str, StoredTensor], *, strict: bool = True
) -> str:
    """Refuse a base that the adapter was not trained on, as far as the adapter tells.

    Returns:
        What speaks for the base, in words.

    Raises:
        BadInput: a sign speaks against it, and `strict`.
    """
    found = signs(adapter, tensors)
    against = [sign for sign in found if not sign.good]
    if against:
        message = (
            f"{adapter.folder}: {against[0].what} is {against[0].value:.2f}; the adapter was "
            f"trained on another base{f', {adapter.base_name!r}' if adapter.base_name else ''}"
        )
        if strict:
            raise BadInput(f"{message}. If you mean it, say --any-base")
        warn(message)
        return "none: merged into another base as told"
    if found:
        return "; ".join(f"{sign.what}: {sign.value:.3f}" for sign in found)
    warn(
        f"{adapter.folder}: nothing in this adapter tells which weights it was trained on (its "
        f"configuration says {adapter.base_name!r}); only names and shapes were checked. "
        "--probe TEXT compares bits per byte before and after"
    )
    return "names and shapes only"
