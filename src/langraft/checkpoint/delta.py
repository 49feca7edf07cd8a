"""Deltas: what a fine-tuned model is beyond its base, exact to the last bit.

A floating-point difference is rounded, and base + difference is rounded again: it rarely gives the
tuned weights back. Ours is the exclusive or of the stored bits, which gives them back always. Rows
and tensors that the base does not have are stored as they are. Folder layout:

    delta.json              digests of base, delta and result, and how each tensor is stored
    delta*.safetensors      the tensors (named so that no loader takes them for weights)
    result/                 config.json, tokenizer and generation settings of the tuned model
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langraft.checkpoint.digest import Records, combined, read_records
from langraft.checkpoint.files import open_file
from langraft.checkpoint.layout import companion_files, open_model, require_tokenizer_fits
from langraft.checkpoint.reading import Checkpoint, open_checkpoint
from langraft.checkpoint.stream import StoredTensor
from langraft.checkpoint.writing import (
    NOTE,
    new_folder,
    require_new,
    write_checkpoint,
    write_weights,
)
from langraft.core.errors import BadInput
from langraft.core.io import read_json, write_json

MANIFEST = "delta.json"
STEM = "delta"
RESULT = "result"
FORMAT = "langraft-delta-1"
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def make_delta(base: Path, tuned: Path, out: Path) -> dict[str, Any]:
    """Write the delta from `base` to `tuned`.

    Returns:
        The content of `delta.json`, without its tables.

    Raises:
        BadInput: damaged weights, the same weights twice, or an existing `out`.
    """
    require_new(out)
    old, new = open_model(base), open_model(tuned)
    base_records = read_records(old, f"hash {base.name}")
    new_records = read_records(new, f"hash {tuned.name}")
    if base_records == new_records:
        raise BadInput(f"{tuned}: its weights are those of {base}; there is no difference to store")
    tensors = [difference(old.tensors.get(n), tensor) for n, tensor in new.tensors.items()]
    size = sum(tensor.nbytes for tensor in tensors)
    with new_folder(out, size) as partial:
        records = write_weights(partial, tensors, stem=STEM, title=f"write {out.name}")
        result = partial / RESULT
        result.mkdir()
        write_json(result / "config.json", new.config)
        for name, source in companion_files(tuned, tuned).items():
            shutil.copyfile(source, result / name)
        manifest = {
            "format": FORMAT,
            "base": combined(base_records),
            "delta": combined(records),
            "result": combined(new_records),
            "dtypes": {n: str(t.dtype).removeprefix("torch.") for n, t in new.tensors.items()},
            "base_tensors": base_records,
            "result_tensors": new_records,
        }
        write_json(partial / MANIFEST, manifest)
    return headline(manifest)


def headline(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The digests of a delta."""
    return {key: manifest[key] for key in ("format", "base", "delta", "result")}


def difference(old: StoredTensor | None, new: StoredTensor) -> StoredTensor:
    """The stored form of `new` beside `old`: bits exclusive-or'ed where both have rows, `new`'s own
    bits elsewhere. Applied twice it gives `new` back.

    A base of another dtype is rounded to `new`'s first, which is the same on every machine.
    """
    bits = BITS[new.dtype.itemsize]
    common = shared_rows(old, new.shape)

    def rows(start: int, stop: int) -> Tensor:
        block = new.rows(start, stop).view(bits)
        if old is None or start >= common:
            return block
        under = old.rows(start, min(stop, common)).to(new.dtype).view(bits)
        return torch.cat([block[: len(under)] ^ under, block[len(under) :]])

    return StoredTensor(new.name, bits, new.shape, rows)


def shared_rows(old: StoredTensor | None, shape: tuple[int, ...]) -> int:
    """How many leading rows of a tensor of `shape` the base has too."""
    if old is None or old.shape[1:] != shape[1:] or len(old.shape) != len(shape):
        return 0
    return min(old.height, shape[0] if shape else 1)


def open_delta(folder: Path) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """A delta's manifest and its tensors, unread.

    Raises:
        BadInput: not one of our deltas, incomplete, or damaged.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise BadInput(f"{folder}: no {MANIFEST}, so this is not a delta made by langraft")
    manifest = read_json(path)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BadInput(f"{path}: its format is not {FORMAT!r}")
    index = folder / f"{STEM}.safetensors.index.json"
    names = [f"{STEM}.safetensors"]
    if index.exists():
        names = sorted(set(read_json(index)["weight_map"].values()))
    tensors: dict[str, StoredTensor] = {}
    for name in names:
        if Path(name).name != name or not (folder / name).exists():
            raise BadInput(f"{folder}: file {name!r} of the delta is missing; fetch it again")
        tensors |= open_file(folder / name)
    if set(tensors) != set(manifest["result_tensors"]):
        odd = sorted(set(tensors) ^ set(manifest["result_tensors"]))
        raise BadInput(f"{folder}: {odd[0]!r} is in {MANIFEST} or in the files, not in both")
    return manifest, tensors


def apply_delta(base: Path, delta: Path, out: Path) -> dict[str, Any]:
    """Write the tuned model that `delta` makes of `base`; the result is exact, and that is checked.

    Raises:
        BadInput: another base, the delta applied already, a damaged delta, or an existing `out`.
    """
    require_new(out)
    manifest, stored = open_delta(delta)
    old = open_model(base)
    _require_unapplied(base, manifest)
    _require_base(old, manifest)
    _require_delta(delta, stored, manifest)
    tensors = [restored(old.tensors.get(n), t, manifest["dtypes"][n]) for n, t in stored.items()]
    config = dict(read_json(delta / RESULT / "config.json"))
    rows = {t.name: t.height for t in tensors}
    vocabulary = max((rows[n] for n in rows if n.endswith("embed_tokens.weight")), default=None)
    if vocabulary is not None:
        require_tokenizer_fits(delta / RESULT, vocabulary, delta)

    def finish(folder: Path, records: Records) -> None:
        if combined(records) != manifest["result"]:
            raise BadInput(f"{delta}: the result is not the one it promises; {MANIFEST} is damaged")

    return write_checkpoint(
        out,
        tensors,
        config=config,
        files=companion_files(delta / RESULT, delta / RESULT),
        made={"by": "delta-apply", "base": str(base), **headline(manifest)},
        finish=finish,
    )


def restored(old: StoredTensor | None, stored: StoredTensor, dtype: str) -> StoredTensor:
    """The tuned tensor from the base's and the delta's."""
    wanted: torch.dtype = getattr(torch, dtype)
    new = dataclasses.replace(
        stored, dtype=wanted, rows=lambda a, b: stored.rows(a, b).view(wanted)
    )
    back = difference(old, new)
    return dataclasses.replace(new, rows=lambda a, b: back.rows(a, b).view(wanted))


def verify_delta(
    delta: Path, *, base: Path | None = None, result: Path | None = None
) -> dict[str, Any]:
    """Check a delta against its own digests, and a base or a result against the delta.

    Raises:
        BadInput: one of them is not what the delta says; a tensor that differs is named.
    """
    manifest, stored = open_delta(delta)
    _require_delta(delta, stored, manifest)
    if base is not None:
        _require_base(open_checkpoint(base), manifest)
    if result is not None:
        checkpoint = open_checkpoint(result)
        _require_records(checkpoint, manifest["result_tensors"], "not the result of this delta")
    checked = [n for n, given in (("base", base), ("result", result)) if given is not None]
    return {**headline(manifest), "checked": ["delta", *checked]}


def _require_unapplied(base: Path, manifest: Mapping[str, Any]) -> None:
    note = base / NOTE
    made = read_json(note).get("made", {}) if note.exists() else {}
    if made.get("by") == "delta-apply" and made.get("delta") == manifest["delta"]:
        raise BadInput(f"{base}: this delta is applied already; give the base it was made for")


def _require_base(checkpoint: Checkpoint, manifest: Mapping[str, Any]) -> None:
    found = read_records(checkpoint, f"check {checkpoint.folder.name}")
    if combined(found) == manifest["result"]:
        raise BadInput(
            f"{checkpoint.folder}: is the result of this delta already; give the base it was made "
            "for"
        )
    _compare(checkpoint.folder, found, manifest["base_tensors"], "not the base of this delta")


def _require_records(checkpoint: Checkpoint, wanted: Records, what: str) -> None:
    found = read_records(checkpoint, f"check {checkpoint.folder.name}")
    _compare(checkpoint.folder, found, wanted, what)


def _compare(folder: Path, found: Records, wanted: Records, what: str) -> None:
    differing = sorted(n for n in {*found, *wanted} if found.get(n) != wanted.get(n))
    if differing:
        name = differing[0]
        raise BadInput(
            f"{folder}: {what}: {len(differing)} of {len(wanted)} tensors differ; {name!r} is "
            f"{found.get(name, 'missing')!r}, expected {wanted.get(name, 'none')!r}"
        )


def _require_delta(
    folder: Path, stored: Mapping[str, StoredTensor], manifest: Mapping[str, Any]
) -> None:
    whole = Checkpoint(folder, dict(stored), (), {})
    if combined(read_records(whole, f"check {folder.name}")) != manifest["delta"]:
        raise BadInput(f"{folder}: its tensors are not the ones {MANIFEST} lists; fetch it again")
