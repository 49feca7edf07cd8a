"""Deltas as FastChat (Vicuna) and Fengshenbang (Ziya) publish them: plain sums, no checksums.

Both hold target - base in the stored dtype. FastChat's is summed for every tensor. Ziya's stores
tensors whose shapes changed with the vocabulary verbatim: names that contain `embed_tokens`,
`lm_head.weight` or `rotary_emb.inv_freq`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langraft.checkpoint.digest import combined, read_records
from langraft.checkpoint.layout import (
    companion_files,
    embedding_names,
    open_model,
    require_tokenizer_fits,
    tokenizer_ids,
)
from langraft.checkpoint.reading import open_checkpoint
from langraft.checkpoint.stream import StoredTensor
from langraft.checkpoint.writing import NOTE, require_new, write_checkpoint
from langraft.core.errors import BadInput
from langraft.core.io import read_json
from langraft.core.messages import warn

STYLES = ("auto", "fastchat", "ziya")
VERBATIM = ("embed_tokens", "lm_head.weight")
COMPUTED = "rotary_emb.inv_freq"  # transformers computes it; old files carry it


def apply_published(base: Path, delta: Path, out: Path, style: str = "auto") -> dict[str, Any]:
    """Write base + delta, each sum rounded once to the delta's dtype.

    Args:
        style: "fastchat" sums every tensor, "ziya" takes embeddings verbatim; "auto" takes them
            verbatim when their shape differs from the base's.

    Raises:
        BadInput: a tensor fits nothing in the base, the delta was applied already, damaged weights,
            or an existing `out`.
    """
    require_new(out)
    old, change = open_model(base), open_checkpoint(delta)
    names = embedding_names(change.tensors, delta)
    if style == "auto":
        grown = change.tensors[names[0]].shape != _base(old.tensors, names[0], delta).shape
        style = "ziya" if grown else "fastchat"
    digest = combined(read_records(change, f"hash {delta.name}"))
    _require_unapplied(base, digest)
    if style == "ziya":
        _require_other_rows(base, old.tensors, change.tensors, names)
    tensors = [
        tensor if style == "ziya" and any(part in name for part in VERBATIM) else
        _sum(_base(old.tensors, name, delta), tensor, delta)
        for name, tensor in change.tensors.items()
        if COMPUTED not in name
    ]  # fmt: skip
    for name in old.tensors:
        if name not in change.tensors and COMPUTED not in name:
            raise BadInput(f"{delta}: lacks {name!r}, which the base has; it is for another model")
    rows = change.tensors[names[0]].height
    tokenizer = delta if tokenizer_ids(delta) is not None else base
    require_tokenizer_fits(tokenizer, rows, delta)
    warn(f"{delta}: carries no checksums, so nothing proves that {base} is its base")
    return write_checkpoint(
        out,
        tensors,
        config={**change.config, "vocab_size": rows},
        files=companion_files(delta, tokenizer),
        made={"by": "delta-apply", "base": str(base), "delta": digest, "style": style},
    )


def _base(tensors: Mapping[str, StoredTensor], name: str, delta: Path) -> StoredTensor:
    if name not in tensors:
        raise BadInput(
            f"{delta}: changes {name!r}, which the base does not have; it is for another model"
        )
    return tensors[name]


def _sum(old: StoredTensor, change: StoredTensor, delta: Path) -> StoredTensor:
    if old.shape != change.shape:
        raise BadInput(
            f"{delta}: its {change.name!r} has shape {list(change.shape)} and the base's "
            f"{list(old.shape)}; it is for another model"
        )

    def rows(start: int, stop: int) -> Tensor:
        total = old.rows(start, stop).to(change.dtype).to(torch.float32)
        return total.add_(change.rows(start, stop)).to(change.dtype)

    return StoredTensor(change.name, change.dtype, change.shape, rows)


def _require_unapplied(base: Path, digest: str) -> None:
    note = base / NOTE
    made = read_json(note).get("made", {}) if note.exists() else {}
    if made.get("delta") == digest:
        raise BadInput(f"{base}: this delta is applied already; give the base it was made for")


def _require_other_rows(
    base: Path,
    old: Mapping[str, StoredTensor],
    change: Mapping[str, StoredTensor],
    names: tuple[str, str],
) -> None:
    """A base whose embedding is the delta's own verbatim one has had the delta applied."""
    mine, theirs = old[names[0]], change[names[0]]
    if mine.shape == theirs.shape:
        sample = min(mine.height, 1_024)
        same = mine.rows(0, sample).to(theirs.dtype)
        if torch.equal(same, theirs.rows(0, sample)):
            raise BadInput(
                f"{base}: its embedding is the delta's own, so this delta is applied already; give "
                "the base it was made for"
            )
