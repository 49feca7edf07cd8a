"""GGUF out: LLaMA-family model folders, streamed a block of rows at a time."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFWriter, dequantize, get_tensor_name_map
from gguf import GGMLQuantizationType as Kind

from langraft.checkpoint.folder import model_digest
from langraft.checkpoint.reading import Checkpoint, open_checkpoint
from langraft.checkpoint.stream import StoredTensor
from langraft.core.errors import BadInput
from langraft.core.hardware import versions
from langraft.core.io import PARTIAL, disk_errors, sha256_file
from langraft.core.manifest import MANIFEST
from langraft.core.messages import bar
from langraft.export.ggml import quantise, quantiser, row_bytes
from langraft.export.rope import (
    freeze_dynamic,
    head_size,
    llama3_factors,
    rope_of,
    write_rope,
)
from langraft.export.types import Mix, kind_of, mix_named
from langraft.export.vocabulary import read_vocabulary
from langraft.tokenizer.gguf_vocabulary import Vocabulary

BLOCK_NUMBERS = 1 << 22
QUANTISED_VERSION = 2
EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"
SKIPPED = ("rotary_emb.inv_freq", "attention.masked_bias", "attention.bias")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A family of models.

    Attributes:
        gguf: llama.cpp's name.
        permuted: llama.cpp rotates neighbouring components where transformers rotates halves, so
            the rows of the query and key projections are reordered.
    """

    gguf: MODEL_ARCH
    permuted: bool


ARCHITECTURES = {
    "llama": Architecture(MODEL_ARCH.LLAMA, permuted=True),
    "mistral": Architecture(MODEL_ARCH.LLAMA, permuted=True),
    "qwen2": Architecture(MODEL_ARCH.QWEN2, permuted=False),
    "qwen3": Architecture(MODEL_ARCH.QWEN3, permuted=False),
}


@dataclasses.dataclass(frozen=True)
class Part:
    """One tensor of the file: its name there, its type, and float32 rows on demand.

    Attributes:
        step: rows of a head whose halves become neighbours; 1: none are moved.
        source: the tensor's name in the folder; "" for one that is only in the file.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    rows: Callable[[int, int], np.ndarray]
    step: int = 1
    source: str = ""

    @property
    def matrix(self) -> tuple[int, int]:
        """(rows, columns); a vector is one row."""
        return (1, self.shape[0]) if len(self.shape) == 1 else (self.shape[0], self.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        height, columns = self.matrix
        return height * row_bytes(self.kind, columns)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Blocks of rows, whole heads where heads are reordered."""
        height, columns = self.matrix
        size = max(1, BLOCK_NUMBERS // (columns * self.step)) * self.step
        for start in range(0, height, size):
            yield start, min(height, start + size)


def export_gguf(
    model: Path, out: Path, kind: str = "f16", *, context: int | None = None
) -> dict[str, Any]:
    """Write the model folder `model` as the GGUF file `out`.

    Memory holds a few blocks of rows, never a whole model; all cores quantise.

    Args:
        kind: a name of `langraft.export.types.MIXES`.
        context: the length at which a dynamic rope scaling is frozen.

    Returns:
        file, type, bytes, tensors, parameters, model_sha256.

    Raises:
        BadInput: not a LLaMA-family folder, or a vocabulary or rope setting that GGUF cannot carry.
        RunFailed: the disk is full.
    """
    mix = mix_named(kind)
    checkpoint = open_checkpoint(model)
    config = checkpoint.config
    architecture = _architecture(model, config)
    rope = freeze_dynamic(config, context)
    parts = list(_parts(checkpoint, architecture, mix, rope))
    rows = checkpoint.tensors[EMBEDDING].shape[0]
    vocabulary = read_vocabulary(model, rows)
    digest = model_digest(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + PARTIAL)
    with disk_errors(out):
        writer = GGUFWriter(partial, MODEL_ARCH_NAMES[architecture.gguf])
        _write_metadata(writer, model, config, mix, digest)
        _write_shape(writer, config, rope, rows, context)
        vocabulary.write(writer)
        try:
            _write_tensors(writer, parts, out.name)
            partial.replace(out)
        finally:
            writer.close()
            partial.unlink(missing_ok=True)
    return {
        "file": str(out),
        "type": kind.lower(),
        "bytes": out.stat().st_size,
        "tensors": len(parts),
        "parameters": sum(part.matrix[0] * part.matrix[1] for part in parts),
        "model_sha256": digest,
        **_vocabulary_counts(vocabulary),
    }


def _vocabulary_counts(vocabulary: Vocabulary) -> dict[str, Any]:
    counts = collections.Counter(vocabulary.types)
    return {"rows": len(vocabulary.pieces), "unused_rows": counts[5], "pre": vocabulary.pre}


def _architecture(model: Path, config: dict[str, Any]) -> Architecture:
    name = str(config.get("model_type"))
    if name not in ARCHITECTURES:
        raise BadInput(
            f"{model}: model_type {name!r}; GGUF files are written for {', '.join(ARCHITECTURES)}"
        )
    if config.get("num_local_experts") or config.get("quantization_config"):
        raise BadInput(f"{model}: experts and already quantised weights are not exported to GGUF")
    return ARCHITECTURES[name]


def _write_metadata(
    writer: GGUFWriter, model: Path, config: dict[str, Any], mix: Mix, digest: str
) -> None:
    writer.add_type("model")
    writer.add_name(model.resolve().name)
    writer.add_file_type(int(mix.file_type))
    writer.add_quantization_version(QUANTISED_VERSION)
    writer.add_string("langraft.version", versions()["langraft"])
    writer.add_string("langraft.model.sha256", digest)
    if (model / MANIFEST).exists():
        writer.add_string("langraft.manifest.sha256", sha256_file(model / MANIFEST))


def _write_shape(
    writer: GGUFWriter, config: dict[str, Any], rope: dict[str, Any], rows: int, length: int | None
) -> None:
    heads = int(config["num_attention_heads"])
    writer.add_context_length(int(length or config["max_position_embeddings"]))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_key_length(head_size(config))
    writer.add_value_length(head_size(config))
    writer.add_layer_norm_rms_eps(float(config["rms_norm_eps"]))
    writer.add_vocab_size(rows)
    write_rope(writer, rope, config)


def _parts(
    checkpoint: Checkpoint, architecture: Architecture, mix: Mix, rope: dict[str, Any]
) -> Iterator[Part]:
    config, layers = checkpoint.config, int(checkpoint.config["num_hidden_layers"])
    names = get_tensor_name_map(architecture.gguf, layers)
    tied = bool(config.get("tie_word_embeddings", False)) or OUTPUT not in checkpoint.tensors
    factors = llama3_factors(rope, head_size(config))
    if factors is not None:
        yield Part("rope_freqs.weight", Kind.F32, factors.shape, lambda _a, _b: factors[None])
    for name, tensor in checkpoint.tensors.items():
        if name.endswith(SKIPPED) or (tied and name == OUTPUT):
            continue
        ours = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if ours is None:
            raise BadInput(
                f"{checkpoint.folder}: llama.cpp's {architecture.gguf.name} models have no place "
                f"for the tensor {name!r}"
            )
        kind = kind_of(mix, ours, tensor.shape, layers=layers, tied=tied)
        rotated = architecture.permuted and name.split(".")[-2] in ("q_proj", "k_proj")
        head = head_size(config) if rotated else 1
        yield Part(ours, kind, tensor.shape, _reader(tensor, head), head, name)


def _reader(tensor: StoredTensor, head: int) -> Callable[[int, int], np.ndarray]:
    """Float32 rows, shape (rows, columns); in heads of `head` rows, halves become neighbours."""

    def rows(start: int, stop: int) -> np.ndarray:
        if len(tensor.shape) == 1:
            whole = tensor.rows(0, tensor.height).to(torch.float32).numpy()
            return _neighbours(whole[:, None], head)[:, 0][None]
        block = tensor.rows(start, stop).to(torch.float32).numpy()
        return np.ascontiguousarray(_neighbours(block, head))

    return rows


def _neighbours(rows: np.ndarray, head: int) -> np.ndarray:
    """Reorder the rows of each head from (first half, second half) to (pairs)."""
    if head == 1:
        return rows
    return rows.reshape(-1, 2, head // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def held_weights(model: Path, kind: str) -> Iterator[tuple[str, torch.Tensor]]:
    """The folder's tensors by name as a file of type `kind` holds them, float32.

    Raises:
        BadInput: as `export_gguf`.
    """
    checkpoint = open_checkpoint(model)
    architecture = _architecture(model, checkpoint.config)
    for part in _parts(checkpoint, architecture, mix_named(kind), rope_of(checkpoint.config)):
        if part.source:
            blocks = [quantise(part.rows(*span), part.kind) for span in part.spans()]
            rows = dequantize(np.concatenate(blocks), part.kind)
            whole = torch.from_numpy(_halves(rows, part.step).copy())
            yield part.source, whole.reshape(part.shape)


def _halves(rows: np.ndarray, head: int) -> np.ndarray:
    """What `_neighbours` reordered, in its first order."""
    if head == 1:
        return rows
    return rows.reshape(-1, head // 2, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def _write_tensors(writer: GGUFWriter, parts: list[Part], title: str) -> None:
    for part in parts:
        writer.add_tensor_info(
            part.name, part.shape, np.dtype(np.float32), part.nbytes, raw_dtype=part.kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    assert writer.fout is not None
    stream = writer.fout[0]
    if any(part.kind not in (Kind.F32, Kind.F16, Kind.BF16) for part in parts):
        quantiser()
    total = sum(part.nbytes for part in parts)
    with bar("bytes") as progress, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        task = progress.add_task(f"writing {title}", total=total, note="")
        for part in parts:
            writer.write_padding(stream, stream.tell())
            written = 0
            for block in _quantised(pool, part):
                stream.write(block.tobytes())
                written += block.nbytes
                progress.advance(task, block.nbytes)
            assert written == part.nbytes
            writer.write_padding(stream, written)
    stream.flush()
    os.fsync(stream.fileno())


def _quantised(pool: ThreadPoolExecutor, part: Part) -> Iterator[np.ndarray]:
    """The part's blocks in order; as many are in work as there are cores, and one waits."""

    def work(span: tuple[int, int]) -> np.ndarray:
        return quantise(part.rows(*span), part.kind)

    waiting: collections.deque[Future[np.ndarray]] = collections.deque()
    for span in part.spans():
        waiting.append(pool.submit(work, span))
        if len(waiting) > (os.cpu_count() or 1):
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
