"""The sizes of a LLaMA-like model, from its configuration alone: no weights, no torch."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from langraft.core.errors import BadInput

# Dense decoders with RMSNorm, rotary positions and a gated feed-forward part, by `model_type`:
# whether the three attention inputs have biases, and whether queries and keys are normed by head.
FAMILIES = {
    "llama": (False, False),
    "mistral": (False, False),
    "qwen2": (True, False),
    "qwen3": (False, True),
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """What decides parameters, memory and operations.

    Attributes:
        hidden, layers, heads, kv_heads, head, inner, rows: width of the residual stream, blocks,
            query heads, key and value heads, width of a head, width of the feed-forward part, rows
            of an embedding matrix.
        tied: the output matrix is the input matrix.
        biases, head_norms: see `FAMILIES`.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    rows: int
    tied: bool = False
    biases: bool = False
    head_norms: bool = False

    @classmethod
    def of(cls, config: Mapping[str, Any], name: str) -> Self:
        """From a `config.json`; `name` is for the message.

        Raises:
            BadInput: another architecture, or a size is missing.
        """
        family = config.get("model_type")
        if family not in FAMILIES:
            raise BadInput(
                f"{name}: config.json says model_type {family!r}; a plan knows "
                f"{', '.join(FAMILIES)}"
            )
        biases, head_norms = FAMILIES[family]
        try:
            hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
            return cls(
                hidden=hidden,
                layers=int(config["num_hidden_layers"]),
                heads=heads,
                kv_heads=int(config.get("num_key_value_heads") or heads),
                head=int(config.get("head_dim") or hidden // heads),
                inner=int(config["intermediate_size"]),
                rows=int(config["vocab_size"]),
                tied=bool(config.get("tie_word_embeddings", False)),
                biases=bool(config.get("attention_bias", biases)),
                head_norms=head_norms,
            )
        except KeyError as error:
            raise BadInput(f"{name}: config.json has no {error.args[0]!r}") from None

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head

    @property
    def keys(self) -> int:
        """Width of all key heads together."""
        return self.kv_heads * self.head

    @property
    def block_matrices(self) -> int:
        """Weights of one block that tokens are multiplied with."""
        attention = self.hidden * (2 * self.queries + 2 * self.keys)
        return attention + 3 * self.hidden * self.inner

    @property
    def block(self) -> int:
        """All weights of one block."""
        biases = self.queries + 2 * self.keys if self.biases else 0
        norms = 2 * self.hidden + (2 * self.head if self.head_norms else 0)
        return self.block_matrices + biases + norms

    @property
    def matrix(self) -> int:
        """Weights of one embedding matrix."""
        return self.rows * self.hidden

    @property
    def embeddings(self) -> int:
        """Weights of the embedding matrices."""
        return self.matrix * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.layers * self.block + self.embeddings + self.hidden

    @property
    def matmul(self) -> int:
        """Weights that every token is multiplied with: all matrices but the input's."""
        return self.layers * self.block_matrices + self.matrix

    def lora(self, rank: int, targets: tuple[str, ...]) -> int:
        """Weights of an adapter of this rank on these layers of every block."""
        return self.layers * rank * sum(sum(self.linear(name)) for name in targets)

    def linear(self, name: str) -> tuple[int, int]:
        """Width of the input and of the output of one of a block's linear layers.

        Raises:
            BadInput: there is none of that name.
        """
        hidden = self.hidden
        layers = {
            "q_proj": (hidden, self.queries),
            "k_proj": (hidden, self.keys),
            "v_proj": (hidden, self.keys),
            "o_proj": (self.queries, hidden),
            "gate_proj": (hidden, self.inner),
            "up_proj": (hidden, self.inner),
            "down_proj": (self.inner, hidden),
        }
        if name not in layers:
            raise BadInput(f"lora.targets: {name!r} is not one of {', '.join(layers)}")
        return layers[name]

    def grown(self, rows: int, *, untied: bool) -> Self:
        """The same with `rows` rows, and two matrices when `untied`."""
        return dataclasses.replace(self, rows=rows, tied=self.tied and not untied)


# So that a plan needs no download: the configurations of models that recipes name, by hub id.
_LLAMA = {"model_type": "llama"}


def _llama(
    hidden: int, layers: int, heads: int, kv: int, inner: int, rows: int, **more: Any
) -> Any:
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    sizes |= {"num_key_value_heads": kv, "intermediate_size": inner, "vocab_size": rows}
    return {**_LLAMA, **sizes, **more}


KNOWN: dict[str, Mapping[str, Any]] = {
    "smollm2-135m": _llama(576, 30, 9, 3, 1_536, 49_152, tie_word_embeddings=True),
    "HuggingFaceTB/SmolLM2-135M": _llama(576, 30, 9, 3, 1_536, 49_152, tie_word_embeddings=True),
    "HuggingFaceTB/SmolLM2-360M": _llama(960, 32, 15, 5, 2_560, 49_152, tie_word_embeddings=True),
    "HuggingFaceTB/SmolLM2-1.7B": _llama(
        2_048, 24, 32, 32, 8_192, 49_152, tie_word_embeddings=True
    ),
    "TinyLlama/TinyLlama_v1.1": _llama(2_048, 22, 32, 4, 5_632, 32_000),
    "huggyllama/llama-7b": _llama(4_096, 32, 32, 32, 11_008, 32_000),
    "huggyllama/llama-13b": _llama(5_120, 40, 40, 40, 13_824, 32_000),
    "meta-llama/Llama-2-7b-hf": _llama(4_096, 32, 32, 32, 11_008, 32_000),
    "hfl/chinese-llama-2-7b": _llama(4_096, 32, 32, 32, 11_008, 55_296),
    "meta-llama/Llama-2-13b-hf": _llama(5_120, 40, 40, 40, 13_824, 32_000),
    "meta-llama/Llama-2-70b-hf": _llama(8_192, 80, 64, 8, 28_672, 32_000),
    "meta-llama/Meta-Llama-3-8B": _llama(4_096, 32, 32, 8, 14_336, 128_256),
    "meta-llama/Llama-3.1-8B": _llama(4_096, 32, 32, 8, 14_336, 128_256),
    "meta-llama/Llama-3.2-1B": _llama(
        2_048, 16, 32, 8, 8_192, 128_256, tie_word_embeddings=True, head_dim=64
    ),
    "mistralai/Mistral-7B-v0.1": _llama(4_096, 32, 32, 8, 14_336, 32_000, model_type="mistral"),
    "Qwen/Qwen2.5-0.5B": _llama(
        896, 24, 14, 2, 4_864, 151_936, model_type="qwen2", tie_word_embeddings=True
    ),
    "Qwen/Qwen2.5-7B": _llama(3_584, 28, 28, 4, 18_944, 152_064, model_type="qwen2"),
    "Qwen/Qwen3-0.6B": _llama(
        1_024, 28, 16, 8, 3_072, 151_936, model_type="qwen3", head_dim=128, tie_word_embeddings=True
    ),
    "Qwen/Qwen3-8B": _llama(4_096, 36, 32, 8, 12_288, 151_936, model_type="qwen3", head_dim=128),
}
