"""Model folders read tensor by tensor: safetensors, `pytorch_model*.bin`, Meta's
`consolidated.*.pth`.

Only headers are read when a folder is opened, and everything that can be wrong with them is found
there.
"""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

from langraft.checkpoint.files import open_file
from langraft.checkpoint.meta import open_meta
from langraft.checkpoint.stream import StoredTensor
from langraft.core.errors import BadInput
from langraft.core.io import read_json

SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.(?:safetensors|bin)$")
# In the order in which transformers looks for them: (one file, index of many, pattern of many).
LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*-of-*.bin"),
)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The weights of one folder, unread.

    Attributes:
        folder: where they are.
        tensors: by name, in the order of the files.
        files: the weight files, in order.
        config: the content of `config.json`.
        index: the content of the index file, empty when there is none.
    """

    folder: Path
    tensors: dict[str, StoredTensor]
    files: tuple[Path, ...]
    config: dict[str, Any]
    index: dict[str, Any] = dataclasses.field(default_factory=dict)


def open_checkpoint(folder: Path, *, needs_config: bool = True) -> Checkpoint:
    """Open the weights of a model folder without reading them.

    Args:
        needs_config: False for folders that hold tensors but no model, such as a delta.

    Raises:
        BadInput: no weights, a truncated or damaged file, a missing shard, an index that does not
            say what the files hold, or no `config.json`.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    if any(folder.glob("consolidated.*.pth")):
        return Checkpoint(folder, *open_meta(folder))
    has_config = (folder / "config.json").exists()
    if needs_config and not has_config:
        raise BadInput(
            f"{folder}: no config.json, so this is not a model folder{_what_it_is(folder)}"
        )
    config = dict(read_json(folder / "config.json")) if has_config else {}
    for single, index, pattern in LAYOUTS:
        if (folder / single).exists():
            tensors = open_file(folder / single)
            return Checkpoint(folder, tensors, (folder / single,), config)
        if (folder / index).exists():
            return _indexed(folder, index, config)
        if found := sorted(folder.glob(pattern)):
            return _numbered(folder, found, config)
    raise BadInput(
        f"{folder}: no weights (looked for {', '.join(layout[0] for layout in LAYOUTS)}, their "
        f"sharded forms and consolidated.*.pth){_what_it_is(folder)}"
    )


def _what_it_is(folder: Path) -> str:
    if (folder / "adapter_config.json").exists():
        return "; it is an adapter: `langraft checkpoint merge` makes a model of it"
    if (folder / "delta.json").exists():
        return "; it is a delta: `langraft checkpoint delta-apply` makes a model of it"
    return ""


def _indexed(folder: Path, index_name: str, config: dict[str, Any]) -> Checkpoint:
    path = folder / index_name
    index = read_json(path)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not places:
        raise BadInput(f"{path}: no `weight_map`, so it names no shard")
    for name in sorted(set(places.values())):
        if Path(name).name != name or not (folder / name).exists():
            raise BadInput(
                f"{path}: shard {name!r} is missing from the folder; fetch the model again"
            )
    files = tuple(folder / name for name in sorted(set(places.values())))
    tensors = _united(files)
    for name, place in places.items():
        if name not in tensors or tensors[name][0].name != place:
            raise BadInput(
                f"{path}: says that {place} holds {name!r}, and it does not; index and shards "
                "belong to different models"
            )
    for name, (file, _) in tensors.items():
        if name not in places:
            raise BadInput(
                f"{path}: does not list {name!r}, which {file.name} holds; index and shards "
                "belong to different models"
            )
    return Checkpoint(folder, {n: t for n, (_, t) in tensors.items()}, files, config, dict(index))


def _numbered(folder: Path, files: list[Path], config: dict[str, Any]) -> Checkpoint:
    """Shards without an index: complete when the numbers in their names are."""
    numbers = [SHARD.search(file.name) for file in files]
    totals = {int(number[2]) for number in numbers if number}
    here = {int(number[1]) for number in numbers if number}
    if len(totals) != 1 or None in numbers or here != set(range(1, max(totals) + 1)):
        lacking = sorted(set(range(1, max(totals, default=0) + 1)) - here)
        raise BadInput(
            f"{folder}: no index, and shard number {lacking[:1] or '?'} of {sorted(totals)} is "
            "missing; fetch the model again"
        )
    tensors = {name: tensor for name, (_, tensor) in _united(tuple(files)).items()}
    return Checkpoint(folder, tensors, tuple(files), config)


def _united(files: tuple[Path, ...]) -> dict[str, tuple[Path, StoredTensor]]:
    found: dict[str, tuple[Path, StoredTensor]] = {}
    for file in files:
        for name, tensor in open_file(file).items():
            if name in found:
                raise BadInput(f"{file}: tensor {name!r} is in {found[name][0].name} too")
            found[name] = (file, tensor)
    return found
