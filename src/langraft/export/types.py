"""Which type every tensor of a GGUF file gets: a table of mixes, as llama.cpp's quantiser makes
them.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping

from gguf import GGML_QUANT_SIZES, LlamaFileType
from gguf import GGMLQuantizationType as Kind

from langraft.core.errors import BadInput

BLOCK = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
# What llama.cpp takes where a row's length is no multiple of 256, the K types' block.
FALLBACK = {Kind.Q4_K: Kind.Q5_0, Kind.Q5_K: Kind.Q5_1, Kind.Q6_K: Kind.Q8_0}

Layers = Callable[[int, int], bool]


def _ends_and_every_third(layer: int, layers: int) -> bool:
    """The first and the last eighth of the layers, and every third between them."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _first_eighth(layer: int, layers: int) -> bool:
    return layer < layers // 8


def _first_four(layer: int, layers: int) -> bool:
    return layer < 4


@dataclasses.dataclass(frozen=True)
class Mix:
    """One name that `--type` knows.

    Attributes:
        kind: the type of the matrices.
        file_type: what the file calls itself.
        output: the type of the output matrix, or of the embedding where it is tied; None: `kind`.
        better: by tensor name, the layers that get another type, and which.
    """

    kind: Kind
    file_type: LlamaFileType
    output: Kind | None = Kind.Q6_K
    better: Mapping[str, tuple[Layers, Kind]] = dataclasses.field(default_factory=dict)


_MEDIUM = {
    "attn_v": (_ends_and_every_third, Kind.Q6_K),
    "ffn_down": (_ends_and_every_third, Kind.Q6_K),
}
_SMALL_4 = {"attn_v": (_first_four, Kind.Q5_K), "ffn_down": (_first_eighth, Kind.Q5_K)}

MIXES: dict[str, Mix] = {
    "f32": Mix(Kind.F32, LlamaFileType.ALL_F32, None),
    "f16": Mix(Kind.F16, LlamaFileType.MOSTLY_F16, None),
    "bf16": Mix(Kind.BF16, LlamaFileType.MOSTLY_BF16, None),
    "q8_0": Mix(Kind.Q8_0, LlamaFileType.MOSTLY_Q8_0, None),
    "q4_0": Mix(Kind.Q4_0, LlamaFileType.MOSTLY_Q4_0),
    "q4_1": Mix(Kind.Q4_1, LlamaFileType.MOSTLY_Q4_1),
    "q5_0": Mix(Kind.Q5_0, LlamaFileType.MOSTLY_Q5_0),
    "q5_1": Mix(Kind.Q5_1, LlamaFileType.MOSTLY_Q5_1),
    "q4_k": Mix(Kind.Q4_K, LlamaFileType.MOSTLY_Q4_K_S),
    "q5_k": Mix(Kind.Q5_K, LlamaFileType.MOSTLY_Q5_K_S),
    "q6_k": Mix(Kind.Q6_K, LlamaFileType.MOSTLY_Q6_K),
    "q4_k_s": Mix(Kind.Q4_K, LlamaFileType.MOSTLY_Q4_K_S, better=_SMALL_4),
    "q4_k_m": Mix(Kind.Q4_K, LlamaFileType.MOSTLY_Q4_K_M, better=_MEDIUM),
    "q5_k_s": Mix(Kind.Q5_K, LlamaFileType.MOSTLY_Q5_K_S),
    "q5_k_m": Mix(Kind.Q5_K, LlamaFileType.MOSTLY_Q5_K_M, better=_MEDIUM),
}
EXACT = ("f32", "f16", "bf16")


def mix_named(name: str) -> Mix:
    """The mix that `--type` asks for.

    Raises:
        BadInput: there is none of that name.
    """
    if name.lower() not in MIXES:
        raise BadInput(f"--type {name}: known types are {', '.join(MIXES)}")
    return MIXES[name.lower()]


def kind_of(mix: Mix, name: str, shape: tuple[int, ...], *, layers: int, tied: bool) -> Kind:
    """The type of one tensor.

    Args:
        name: its name in the file.
        shape: (rows, columns), or (columns,) for a norm, a bias or a factor, which stay float32.
        layers: how many the model has.
        tied: the embedding is the output matrix as well.
    """
    if len(shape) == 1:
        return Kind.F32
    kind, columns = mix.kind, shape[-1]
    block = BLOCK.fullmatch(name)
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        quantised = mix.output is not None
        if quantised and columns % GGML_QUANT_SIZES[mix.kind][0]:
            return _fitting(Kind.Q8_0, columns)
        kind = mix.output or mix.kind
    elif block and block[2] in mix.better:
        chosen, better = mix.better[block[2]]
        kind = better if chosen(int(block[1]), layers) else kind
    return _fitting(kind, columns)


def _fitting(kind: Kind, columns: int) -> Kind:
    if columns % GGML_QUANT_SIZES[kind][0]:
        kind = FALLBACK.get(kind, Kind.F16)
    return Kind.F16 if columns % GGML_QUANT_SIZES[kind][0] else kind
