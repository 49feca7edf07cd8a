"""A peft LoRA adapter, read: which base tensors it changes and how.

Every tensor of the adapter's file ends up in one of the parts below, or reading fails with its
name. Kinds: LoRA, rsLoRA and DoRA on linear layers, Conv1D and embeddings, trained biases, trained
token rows, and whole tensors (`modules_to_save`, embeddings of a larger vocabulary).
"""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

from langraft.checkpoint.files import open_file
from langraft.checkpoint.stream import StoredTensor
from langraft.core.errors import BadInput
from langraft.core.io import read_json, write_json

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
NOTE = "langraft.json"
PREFIX = "base_model.model."
# `default` is the adapter's name inside peft; it stays in state dicts that peft did not write.
LOW_RANK = re.compile(r"(.+)\.lora_(embedding_)?([AB])(?:\.default)?(?:\.weight)?$")
LORA_BIAS = re.compile(r"(.+)\.lora_B(?:\.default)?\.bias$")
MAGNITUDE = re.compile(r"(.+)\.lora_magnitude_vector(?:\.default)?(?:\.weight)?$")
TOKENS = re.compile(r"(.+)\.token_adapter\.trainable_tokens_delta(?:\.default)?$")
WRAPPED = re.compile(r"\.(?:modules_to_save(?:\.default)?|base_layer)\.")
# Starts that change the base's own weights: the adapter fits the changed base only.
CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Settings under which B @ A is not the whole change.
UNKNOWN_KINDS = (
    *("use_qalora", "alora_invocation_tokens", "layer_replication", "target_parameters"),
    *("use_bdlora", "arrow_config", "kasa_config", "monteclora_config", "velora_config"),
)


@dataclasses.dataclass(frozen=True)
class LowRank:
    """A low-rank change of one matrix: scaling * (B @ A), shapes (out, r) and (r, in).

    Attributes:
        embedding: A is laid over the matrix's rows (tokens), as peft does for embeddings.
        magnitude: DoRA's length of each output, shape (out,).
        bias: what is added to the layer's bias, times the scaling, shape (out,).
    """

    a: StoredTensor
    b: StoredTensor
    scaling: float
    embedding: bool = False
    magnitude: StoredTensor | None = None
    bias: StoredTensor | None = None


@dataclasses.dataclass(frozen=True)
class Adapter:
    """What an adapter changes.

    Attributes:
        low_rank: by module name.
        tokens: trained rows by module name: ids and their new rows, shape (ids, width).
        replaced: whole tensors by the base's name for them.
        transposed: square matrices are stored (in, out), as Conv1D does.
        keep_tied: input and output matrix were trained as one.
        base: digest of the base's weights, when the adapter is ours.
        base_name: what its configuration calls the base.
    """

    folder: Path
    low_rank: dict[str, LowRank]
    tokens: dict[str, tuple[list[int], StoredTensor]]
    replaced: dict[str, StoredTensor]
    transposed: bool
    keep_tied: bool
    base: str | None
    base_name: str


def stamp_adapter(adapter: Path, base: str) -> None:
    """Record in an adapter's folder the digest of the base weights that it was trained on."""
    write_json(adapter / NOTE, {"base": {"weights": base}})


def read_adapter(folder: Path) -> Adapter:
    """Read a peft adapter's configuration and what its tensors are; no weights yet.

    Raises:
        BadInput: not a LoRA adapter, empty, damaged, of a kind that cannot be merged, or with a
            tensor that has no place.
    """
    if not (folder / "adapter_config.json").exists():
        raise BadInput(f"{folder}: no adapter_config.json, so this is not a peft adapter")
    config = read_json(folder / "adapter_config.json")
    _require_mergeable(folder, config)
    path = next((folder / name for name in WEIGHTS if (folder / name).exists()), None)
    if path is None:
        raise BadInput(f"{folder}: no adapter weights (looked for {' and '.join(WEIGHTS)})")
    tensors = open_file(path)
    if not tensors:
        raise BadInput(
            f"{path}: holds no tensors; the adapter was saved empty, save it again from the "
            "training state"
        )
    note = folder / NOTE
    base = read_json(note).get("base", {}).get("weights") if note.exists() else None
    found = _Sorted(path, config)
    for name, tensor in tensors.items():
        found.place(name.removeprefix(PREFIX), tensor)
    return Adapter(
        folder,
        found.low_rank(),
        found.tokens,
        found.replaced,
        transposed=bool(config.get("fan_in_fan_out")),
        keep_tied=bool(config.get("ensure_weight_tying")),
        base=base,
        base_name=str(config.get("base_model_name_or_path") or ""),
    )


def _require_mergeable(folder: Path, config: Any) -> None:
    path = folder / "adapter_config.json"
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise BadInput(f"{path}: peft_type is {kind!r}; only LORA adapters are merged")
    start = str(config.get("init_lora_weights", True)).lower()
    if start.startswith(CHANGED_BASE):
        raise BadInput(
            f"{path}: init_lora_weights {start!r} changed the base's own weights; convert the "
            "adapter first (peft: save_pretrained with path_initial_model_for_weight_conversion)"
        )
    if unknown := [key for key in UNKNOWN_KINDS if config.get(key)]:
        raise BadInput(f"{path}: {unknown[0]} is set; adapters of that kind cannot be merged")


class _Sorted:
    """The tensors of an adapter's file, put where they belong one by one."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self._path = path
        self._config = config
        self._parts: dict[str, dict[str, StoredTensor]] = {}
        self._embeddings: set[str] = set()
        self.tokens: dict[str, tuple[list[int], StoredTensor]] = {}
        self.replaced: dict[str, StoredTensor] = {}

    def place(self, name: str, tensor: StoredTensor) -> None:
        if match := LORA_BIAS.fullmatch(name):
            self._part(match[1], "bias", tensor)
        elif match := LOW_RANK.fullmatch(name):
            self._part(match[1], match[3].lower(), tensor)
            if match[2]:
                self._embeddings.add(match[1])
        elif match := MAGNITUDE.fullmatch(name):
            self._part(match[1], "magnitude", tensor)
        elif match := TOKENS.fullmatch(name):
            self.tokens[match[1]] = (self._token_ids(match[1], tensor), tensor)
        else:
            target = WRAPPED.sub(".", name)
            if target in self.replaced:
                raise BadInput(f"{self._path}: holds {target!r} twice")
            self.replaced[target] = tensor

    def _part(self, module: str, role: str, tensor: StoredTensor) -> None:
        part = self._parts.setdefault(module, {})
        if role in part:
            raise BadInput(f"{self._path}: holds two low-rank changes of {module!r}")
        part[role] = tensor

    def _token_ids(self, module: str, tensor: StoredTensor) -> list[int]:
        ids = self._config.get("trainable_token_indices")
        if isinstance(ids, dict):
            ids = next((v for k, v in ids.items() if _names(k, module)), None)
        if not isinstance(ids, list) or len(ids) != tensor.height:
            raise BadInput(
                f"{self._path}: {tensor.height} trained token rows of {module!r}, but "
                f"trainable_token_indices gives {len(ids) if isinstance(ids, list) else 'no'} ids"
            )
        return [int(index) for index in ids]

    def low_rank(self) -> dict[str, LowRank]:
        """The complete low-rank changes by module name."""
        return {module: self._complete(module, part) for module, part in self._parts.items()}

    def _complete(self, module: str, part: dict[str, StoredTensor]) -> LowRank:
        if "a" not in part or "b" not in part:
            raise BadInput(
                f"{self._path}: {module!r} has lora_{'B' if 'b' in part else 'A'} without its "
                "partner; save the adapter again"
            )
        a, b = part["a"], part["b"]
        rank = self._pattern("rank_pattern", module, self._config.get("r"))
        if len(a.shape) != 2 or len(b.shape) != 2 or not a.shape[0] == b.shape[1] == rank:
            raise BadInput(
                f"{self._path}: {module!r} has lora_A {list(a.shape)} and lora_B {list(b.shape)}, "
                f"which do not fit rank {rank} of adapter_config.json"
            )
        if bool(self._config.get("use_dora")) != ("magnitude" in part):
            raise BadInput(
                f"{self._path}: use_dora is {bool(self._config.get('use_dora'))}, but {module!r} "
                f"has {'a' if 'magnitude' in part else 'no'} magnitude vector"
            )
        alpha = float(self._pattern("alpha_pattern", module, self._config.get("lora_alpha")))
        scaling = alpha / (math.sqrt(rank) if self._config.get("use_rslora") else rank)
        return LowRank(
            a, b, scaling, module in self._embeddings, part.get("magnitude"), part.get("bias")
        )

    def _pattern(self, key: str, module: str, default: Any) -> Any:
        patterns = self._config.get(key) or {}
        return next((value for name, value in patterns.items() if _names(name, module)), default)


def _names(pattern: str, module: str) -> bool:
    """Whether peft's `pattern` names `module`: its end, from a dot on."""
    return re.match(rf"(.*\.)?({pattern})$", module) is not None
