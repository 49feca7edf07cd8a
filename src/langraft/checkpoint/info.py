"""What a model folder holds, and what looks wrong with it."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from langraft.checkpoint.digest import Records, combined, read_records
from langraft.checkpoint.folder import quiet
from langraft.checkpoint.layout import embedding_names, is_tied, tokenizer_ids
from langraft.checkpoint.reading import LAYOUTS, Checkpoint, open_checkpoint
from langraft.checkpoint.stream import StoredTensor
from langraft.checkpoint.writing import NOTE
from langraft.core.errors import BadInput
from langraft.core.io import read_json

# Families whose files hold exactly the names of the model class.
PLAIN_FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "olmo2", "smollm3")
COMPUTED = "rotary_emb.inv_freq"
SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Rows beside ids.

    Attributes:
        rows: of the input matrix.
        output_rows: of the output matrix; None when the files hold none.
        ids: one more than the tokenizer's highest id; None without a tokenizer.
        tied: input and output are one matrix, as far as the configuration says.
    """

    names: tuple[str, str]
    rows: int
    output_rows: int | None
    ids: int | None
    tied: bool


def inspect_checkpoint(folder: Path, *, read: bool = True) -> dict[str, Any]:
    """Everything `langraft checkpoint info` prints.

    Args:
        read: also read every weight: digests, NaN, empty and repeated rows.

    Raises:
        BadInput: the folder cannot be opened (see `open_checkpoint`).
    """
    checkpoint = open_checkpoint(folder)
    vocabulary = _vocabulary(checkpoint)
    tensors = checkpoint.tensors
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        sizes[_plain(tensor.dtype)] += tensor.elements
    note = read_json(folder / NOTE) if (folder / NOTE).exists() else {}
    found: dict[str, Any] = {
        "folder": str(folder),
        "architecture": (checkpoint.config.get("architectures") or ["unknown"])[0],
        "files": {path.name: path.stat().st_size for path in checkpoint.files},
        "tensors": len(tensors),
        "parameters": sum(sizes.values()),
        "dtypes": dict(sizes),
        "shapes": _shapes(tensors),
        "rows": vocabulary.rows,
        "output_rows": vocabulary.output_rows,
        "tokenizer_ids": vocabulary.ids,
        "tied": vocabulary.tied,
        "rope": _rope(checkpoint.config),
        "made": note.get("made"),
        "weights": None,
    }
    wrong = [*_wrong_vocabulary(checkpoint, vocabulary), *_wrong_files(checkpoint)]
    wrong += _wrong_names(checkpoint)
    if read:
        try:
            records = read_records(checkpoint, f"read {folder.name}")
        except BadInput as error:
            wrong.append(str(error))
        else:
            found["weights"] = combined(records)
            wrong += _wrong_weights(checkpoint, vocabulary, records, note)
    return {**found, "wrong": wrong}


def _plain(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _vocabulary(checkpoint: Checkpoint) -> Vocabulary:
    names = embedding_names(checkpoint.tensors, checkpoint.folder)
    output = checkpoint.tensors.get(names[1])
    return Vocabulary(
        names,
        checkpoint.tensors[names[0]].height,
        output.height if output else None,
        tokenizer_ids(checkpoint.folder),
        is_tied(checkpoint.tensors, checkpoint.config, names[1]),
    )


def _shapes(tensors: Mapping[str, StoredTensor]) -> dict[str, str]:
    """Shapes by name, layers counted together: `layers.*.mlp.up_proj.weight: 32 x [8, 4]`."""
    counts: Counter[tuple[str, tuple[int, ...]]] = Counter()
    for name, tensor in tensors.items():
        counts[re.sub(r"\.\d+\.", ".*.", name), tensor.shape] += 1
    return {
        name: f"{count} x {list(shape)}" if count > 1 else str(list(shape))
        for (name, shape), count in counts.items()
    }


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"max_position_embeddings": config.get("max_position_embeddings")}
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = {"rope_theta": config["rope_theta"]} if "rope_theta" in config else {}
    return {**kept, **theta, **rope}


def _wrong_vocabulary(checkpoint: Checkpoint, v: Vocabulary) -> Iterator[str]:
    config = checkpoint.config
    if v.ids is None:
        yield "no tokenizer in the folder"
    elif v.ids > v.rows:
        yield f"the tokenizer uses ids up to {v.ids - 1} but the model has {v.rows} rows"
    if config.get("vocab_size") not in (None, v.rows):
        yield f"config.json says vocab_size {config['vocab_size']}, the matrix has {v.rows} rows"
    if v.output_rows not in (None, v.rows):
        yield f"{v.names[1]} has {v.output_rows} rows, {v.names[0]} {v.rows}"
    if not v.tied and v.output_rows is None:
        yield f"config.json says untied, but there is no {v.names[1]}"
    generation = checkpoint.folder / "generation_config.json"
    sources = {"config.json": config}
    if generation.exists():
        sources[generation.name] = read_json(generation)
    for place, values in sources.items():
        for key in SPECIAL:
            ids = values.get(key)
            for index in ids if isinstance(ids, list) else [ids]:
                if isinstance(index, int) and not 0 <= index < v.rows and index != -1:
                    yield f"{place} says {key} {index}, beyond the {v.rows} rows"


def _wrong_files(checkpoint: Checkpoint) -> Iterator[str]:
    said = checkpoint.index.get("metadata", {}).get("total_size")
    size = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
    if said is not None and said != size:
        yield f"the index says {said:,} bytes of weights, the files hold {size:,}"
    names = {path.name for path in checkpoint.files}
    for single, index, pattern in LAYOUTS:
        for path in (single, index, *(p.name for p in checkpoint.folder.glob(pattern))):
            if (checkpoint.folder / path).exists() and path not in names and not (
                checkpoint.index and path.endswith(".index.json")
            ):  # fmt: skip
                yield f"{path} is not part of these weights; loaders may take it instead"
    floats = {t.dtype for t in checkpoint.tensors.values() if t.dtype.is_floating_point}
    said_dtype = checkpoint.config.get("dtype") or checkpoint.config.get("torch_dtype")
    if said_dtype and floats and said_dtype not in {_plain(dtype) for dtype in floats}:
        yield f"config.json says dtype {said_dtype}, the weights are {sorted(map(_plain, floats))}"
    if computed := [name for name in checkpoint.tensors if COMPUTED in name]:
        yield f"{len(computed)} stored {COMPUTED} tensors, which transformers computes by itself"


def _wrong_names(checkpoint: Checkpoint) -> Iterator[str]:
    """Names and shapes against the model class, built without memory."""
    if checkpoint.config.get("model_type") not in PLAIN_FAMILIES:
        return
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with quiet(), torch.device("meta"):
            config = AutoConfig.for_model(**checkpoint.config)
            wanted = AutoModelForCausalLM.from_config(config).state_dict()
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        yield f"transformers cannot build this configuration ({error})"
        return
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    here = checkpoint.tensors
    if lacking := sorted(set(wanted) - set(here) - tied):
        yield f"{len(lacking)} tensors are missing, such as {lacking[0]}"
    if extra := sorted(n for n in set(here) - set(wanted) if COMPUTED not in n):
        yield f"{len(extra)} tensors have no place in {config.model_type}, such as {extra[0]}"
    for name in sorted(set(here) & set(wanted)):
        if here[name].shape != tuple(wanted[name].shape):
            shapes = (list(here[name].shape), list(wanted[name].shape))
            yield f"{name} has shape {shapes[0]}, config.json makes it {shapes[1]}"
            return


def _wrong_weights(
    checkpoint: Checkpoint, v: Vocabulary, records: Records, note: Mapping[str, Any]
) -> Iterator[str]:
    if note.get("weights") not in (None, combined(records)):
        yield f"{NOTE} records other weights: the files were changed after they were written"
    if v.tied and v.output_rows is not None and records[v.names[0]] != records[v.names[1]]:
        yield (
            f"config.json says tied, but {v.names[1]} differs from {v.names[0]}: loaders throw it "
            "away"
        )
    for name in v.names:
        if name in checkpoint.tensors:
            empty, repeated = _odd_rows(checkpoint.tensors[name], v.ids)
            if empty:
                yield f"{empty} rows of {name} that the tokenizer uses are zero"
            if repeated:
                yield f"{repeated} rows of {name} that the tokenizer uses repeat another row"


def _odd_rows(tensor: StoredTensor, ids: int | None) -> tuple[int, int]:
    """How many rows below `ids` are zero, and how many more are copies of another."""
    used = min(tensor.height, ids if ids is not None else tensor.height)
    direction = torch.linspace(0.5, 1.5, tensor.shape[1], dtype=torch.float64)
    marks, empty = [], 0
    for start in range(0, used, 1_024):
        rows = tensor.rows(start, min(used, start + 1_024)).double()
        empty += int((rows.abs().amax(1) == 0).sum())
        marks.append(torch.stack([rows @ direction, rows.square().sum(1)], dim=1))
    different = len(torch.unique(torch.cat(marks), dim=0)) if marks else 0
    return empty, used - different - max(0, empty - 1)
