"""A longer context without training: how the rotary position embedding is stretched.

Only `config.json` changes. In transformers 5 the settings stand in `rope_parameters`. With base b,
head size d, trained length M and wanted length L:

* `ntk`: b becomes b x alpha^(d/(d-2)), alpha = L / (M/2) - 1, the adaptive formula of
  Chinese-LLaMA-Alpaca-2 frozen at L;
* `auto`: the same with L the length of the text in hand: transformers' `dynamic` with factor 2,
  because 2L/M - (2 - 1) is that alpha;
* `linear`: positions divided by L/M (arXiv 2306.15595);
* `yarn`: arXiv 2309.00071, `llama3`: the two-band scaling of Llama 3.1; both by factor L/M.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from langraft.core.errors import BadInput
from langraft.core.io import PARTIAL, disk_errors, read_json, remove, replace_folder, write_json

AUTO_FACTOR = 2.0
LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0}
WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
# What each method may stand on: NTK freezes `auto`, and works on interpolated positions as well.
GROUNDS = {"ntk": ("default", "dynamic", "linear")}
UNTOUCHED = ("default",)


@dataclasses.dataclass(frozen=True)
class Rope:
    """What a configuration says of positions.

    Attributes:
        theta: the base b.
        head: the rotated size d of a head.
        trained: the length M that the model was trained at.
        kind: `rope_type`.
        parameters: all of `rope_parameters`.
    """

    theta: float
    head: int
    trained: int
    kind: str
    parameters: dict[str, Any]


def alpha_for(length: int, trained: int) -> float:
    """The adaptive alpha = L / (M/2) - 1 of Chinese-LLaMA-Alpaca-2; 1 up to the trained length."""
    return max(1.0, length / (trained / 2) - 1)


def stretched_theta(theta: float, head: int, alpha: float) -> float:
    """NTK-aware scaling: base x alpha^(d/(d-2))."""
    return float(theta * alpha ** (head / (head - 2)))


def read_rope(config: dict[str, Any], where: Path) -> Rope:
    """What the content of a `config.json` says of positions, in transformers 5's words or in the
    older `rope_theta` and `rope_scaling`.

    Raises:
        BadInput: no rotary embedding, or several (one for each kind of layer).
    """
    found = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    if any(isinstance(value, dict) for value in found.values()):
        raise BadInput(f"{where}: rope_parameters differ by layer; only one set can be stretched")
    theta = found.get("rope_theta", config.get("rope_theta"))
    if theta is None or "max_position_embeddings" not in config:
        raise BadInput(
            f"{where}: names no rope_theta or max_position_embeddings; only models with rotary "
            "position embeddings can be stretched"
        )
    found["rope_theta"] = float(theta)
    kind = str(found.setdefault("rope_type", found.pop("type", "default")))
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    rotated = int(head * found.get("partial_rotary_factor", 1.0))
    trained = int(
        found.get("original_max_position_embeddings") or config["max_position_embeddings"]
    )
    return Rope(float(theta), rotated, trained, kind, found)


Stretch = Callable[[Rope, int, float | None], dict[str, Any]]


def _ntk(rope: Rope, length: int, alpha: float | None) -> dict[str, Any]:
    theta = stretched_theta(rope.theta, rope.head, alpha or alpha_for(length, rope.trained))
    if rope.kind == "linear":
        return {"rope_type": "linear", "rope_theta": theta, "factor": rope.parameters["factor"]}
    return {"rope_type": "default", "rope_theta": theta}


def _auto(rope: Rope, length: int, alpha: float | None) -> dict[str, Any]:
    return {"rope_type": "dynamic", "rope_theta": rope.theta, "factor": AUTO_FACTOR}


def _by_factor(kind: str, **more: Any) -> Stretch:
    def stretch(rope: Rope, length: int, alpha: float | None) -> dict[str, Any]:
        scaled = {"rope_type": kind, "rope_theta": rope.theta, "factor": length / rope.trained}
        if kind != "linear":
            scaled["original_max_position_embeddings"] = rope.trained
        return scaled | more

    return stretch


METHODS: dict[str, Stretch] = {
    "ntk": _ntk,
    "auto": _auto,
    "linear": _by_factor("linear"),
    "yarn": _by_factor("yarn"),
    "llama3": _by_factor("llama3", **LLAMA3),
}


def stretched(
    config: dict[str, Any],
    method: str,
    length: int | None,
    *,
    where: Path,
    alpha: float | None = None,
) -> dict[str, Any]:
    """The content of `config.json` for a context of `length` tokens.

    `auto` keeps `max_position_embeddings`, which transformers' formula goes by; all others set it
    to `length`. A model with `auto` may be frozen by `ntk`.

    Args:
        alpha: for `ntk`, instead of the adaptive formula's.

    Raises:
        BadInput: an unknown method, a length that is no extension, alpha below 1, or a model that
            is stretched already.
    """
    if method not in METHODS:
        raise BadInput(f"--method {method}: no such method; there are {', '.join(METHODS)}")
    rope = read_rope(config, where)
    if rope.kind not in GROUNDS.get(method, UNTOUCHED):
        freeze = " or freeze it with --method ntk" if rope.kind in GROUNDS["ntk"] else ""
        raise BadInput(
            f"{where}: is stretched already (rope_type {rope.kind!r}); give the model as it was "
            f"trained{freeze}"
        )
    if alpha is not None and (method != "ntk" or alpha < 1):
        raise BadInput(f"--alpha {alpha}: goes with --method ntk and is at least 1")
    if method == "auto":
        if length is not None:
            raise BadInput("--length: `auto` follows each text; `ntk` freezes it at one length")
        return config | {"rope_parameters": _auto(rope, 0, None)}
    if length is None or length <= rope.trained:
        raise BadInput(
            f"--length {length}: must be more than the {rope.trained} tokens that {where} reads now"
        )
    parameters = METHODS[method](rope, length, alpha)
    kept = {k: v for k, v in rope.parameters.items() if k == "partial_rotary_factor"}
    fresh = {k: v for k, v in config.items() if k not in ("rope_theta", "rope_scaling")}
    return fresh | {"rope_parameters": kept | parameters, "max_position_embeddings": length}


def extend_context(
    model: Path, method: str, length: int | None, out: Path, *, alpha: float | None = None
) -> dict[str, Any]:
    """Copy the model folder `model` to `out` with a longer context; the weights are not read.

    Returns:
        the new `rope_parameters` and `max_position_embeddings`.

    Raises:
        BadInput: see `stretched`; or `out` is there already.
    """
    if out.exists():
        raise BadInput(f"--out {out}: exists already; remove it or name another folder")
    config = stretched(
        read_json(model / "config.json"), method, length, where=model / "config.json", alpha=alpha
    )
    partial = out.with_name(out.name + PARTIAL)
    remove(partial)
    with disk_errors(partial):
        partial.mkdir(parents=True)
        for path in sorted(model.iterdir()):
            if path.is_file() and path.suffix in (
                ".safetensors",
                ".json",
                ".model",
                ".jinja",
                ".txt",
            ):
                shutil.copyfile(path, partial / path.name)
    write_json(partial / "config.json", config)
    _lengthen_tokenizer(partial / "tokenizer_config.json", config["max_position_embeddings"])
    note = partial / "langraft.json"
    made = read_json(note) if note.exists() else {}
    write_json(note, made | {"context": {"method": method, "length": length, "alpha": alpha}})
    replace_folder(partial, out)
    return {key: config[key] for key in ("rope_parameters", "max_position_embeddings")}


def _lengthen_tokenizer(path: Path, length: int) -> None:
    """A tokenizer that warns above the old length warns above the new one."""
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8"))
        if (
            isinstance(content.get("model_max_length"), int)
            and content["model_max_length"] < length
        ):
            write_json(path, content | {"model_max_length": length})


@contextlib.contextmanager
def one_alpha(model: PreTrainedModel, length: int) -> Iterator[None]:
    """Make a model with `auto` scaling use one alpha, that of `length`, for all it reads inside.

    Its alpha otherwise grows with every token, while keys in the cache keep the alpha that they
    were made with: the two do not match, and what is generated past the trained length differs
    from what reading the same text afresh gives. Models without `auto` are left alone.
    """
    rotary = getattr(model.base_model, "rotary_emb", None)
    if rotary is None or getattr(rotary, "rope_type", "default") != "dynamic":
        yield
        return
    config = model.config
    alpha = alpha_for(length, config.max_position_embeddings)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    parameters = config.rope_parameters
    theta = stretched_theta(parameters["rope_theta"], head, alpha)
    before = rotary.inv_freq
    steps = before.new_tensor(range(0, head, 2)).double() / head
    rotary.inv_freq = (1.0 / theta**steps).to(before.dtype)
    rotary.rope_type = "default"
    try:
        yield
    finally:
        rotary.inv_freq, rotary.rope_type = before, "dynamic"
