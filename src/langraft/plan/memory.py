"""Bytes that a training step needs on one device, part by part.

Activations are what automatic differentiation keeps, counted on real blocks with
`saved_tensors_hooks`; the tests count them again. Everything else follows from how the engine
stores things: weights that learn, their gradients and moments in 32 bit, products in bfloat16.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from langraft.plan.shape import Shape

Train = Literal["new-rows", "embeddings", "full", "lora", "layers"]
Precision = Literal["bf16", "fp32"]
Checkpointing = Literal["none", "selective", "full"]

CHUNK = 256  # rows whose logits exist at one time (train.loss)
MOMENTS = {"fp32": 8.0, "bf16": 4.0, "8bit": 2.0 + 2 * 4 / 256}  # bytes a weight; a scale a block
CODED = {"int8": 1 + 4 / 64, "nf4": 0.5 + 4 / 64}  # bytes a weight; a scale for 64
SLICE = 1 << 24  # numbers of a moment that are worked on at one time (train.moments)
# bytes for each of them: both moments, the step, and in 8 bit the search for the nearest code
UPDATING = {"fp32": 0.0, "bf16": 12.0, "8bit": 21.0}
MARGIN = 0.06  # of the rest: blocks of the allocator that are too small or too large to be used


@dataclasses.dataclass(frozen=True)
class Kept:
    """Bytes a token that one block keeps for the backward pass, by width: per unit of the residual
    stream, feed-forward part, query heads, key heads, and LoRA rank.
    """

    hidden: int
    inner: int
    queries: int
    keys: int
    rank: int = 0


# By what learns inside the block, and how products are taken: in 32 bit, by autocast (one device:
# weights and residual stream stay 32 bit), or on weights gathered in bfloat16 (sharded).
KEPT = {
    ("all", "fp32"): Kept(24, 16, 8, 8),
    ("all", "autocast"): Kept(26, 8, 4, 4),
    ("all", "gathered"): Kept(16, 8, 4, 4),
    ("none", "fp32"): Kept(8, 12, 8, 8),
    ("none", "autocast"): Kept(8, 6, 4, 4),
    ("none", "gathered"): Kept(8, 6, 4, 4),
    ("lora", "fp32"): Kept(16, 16, 8, 8, 28),
    ("lora", "autocast"): Kept(18, 8, 6, 4, 14),
    ("lora", "gathered"): Kept(12, 8, 4, 4, 14),
    # with dropout, the input of every adapter and its mask (a byte a number on a GPU)
    ("lora+dropout", "fp32"): Kept(33, 17, 13, 8, 28),
    ("lora+dropout", "autocast"): Kept(33, 11, 9, 4, 14),
    ("lora+dropout", "gathered"): Kept(23, 9, 7, 4, 14),
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """How a stage trains, as far as memory goes.

    Attributes:
        learning: weights that learn and are no embedding matrix.
        matrices: embedding matrices that learn (0, 1 or 2).
        inside: what learns inside the blocks, a first part of the keys of `KEPT`.
        rank: of the adapter.
        micro_tokens: tokens in memory at one time on a device.
        accumulates: gradients of earlier micro-batches are there when the next one runs forward.
        shards: devices that share one copy of the weights; 1 is no sharding.
        coded: frozen weights kept in 8 or 4 bits; every device holds all of them.
        offload: weights, gradients and moments lie in the host's memory.
    """

    learning: int
    matrices: int
    inside: Literal["all", "none", "lora", "lora+dropout"]
    rank: int
    micro_tokens: int
    accumulates: bool
    shards: int = 1
    precision: Precision = "bf16"
    checkpointing: Checkpointing = "none"
    states: Literal["fp32", "bf16", "8bit"] = "fp32"
    frozen: Literal["fp32", "bf16", "int8", "nf4"] = "fp32"
    coded: int = 0
    offload: bool = False

    @property
    def products(self) -> Literal["fp32", "autocast", "gathered"]:
        """How products are taken; a second part of the keys of `KEPT`."""
        if self.precision == "fp32":
            return "fp32"
        return "gathered" if self.shards > 1 or self.offload else "autocast"


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device at the step's fullest moment.

    Attributes:
        weights: those stored, and the copies that products are taken on.
        gradients, moments: of what learns.
        activations: kept for the backward pass, and one block's while it runs again.
        logits: the output matrix's share: chunks of logits, its gradient in 32 bit.
        margin: fragmentation and the driver's own.
    """

    weights: float
    gradients: float
    moments: float
    activations: float
    logits: float
    margin: float

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(dataclasses.astuple(self)))


def kept_in_block(shape: Shape, inside: str, products: str, rank: int) -> float:
    """Bytes a token that one block keeps when nothing is computed again."""
    kept = KEPT[inside, products]
    wide = kept.hidden * shape.hidden + kept.inner * shape.inner
    attention = kept.queries * shape.queries + kept.keys * shape.keys
    # the softmax's normaliser a head, and one number for each of two norms
    return wide + attention + kept.rank * rank + 4 * shape.heads + 8


def activations(shape: Shape, setting: Setting) -> tuple[float, float]:
    """Bytes kept between forward and backward pass, and those of one block while it runs again."""
    tokens, products = setting.micro_tokens, setting.products
    block = kept_in_block(shape, setting.inside, products, setting.rank) * tokens
    stream = (2 if products == "gathered" else 4) * shape.hidden * tokens
    top = (8 + 4) * shape.hidden * tokens  # the last norm's input in 32 bit, and its output
    if setting.checkpointing == "none":
        return shape.layers * block + top, 0.0
    if setting.checkpointing == "full":
        return shape.layers * stream + top, block
    width = 4 if products == "fp32" else 2
    results = 2 * shape.queries + 2 * shape.keys + 2 * shape.hidden + 2 * shape.inner
    own = (width * results + 4 * shape.heads) * tokens
    return shape.layers * (stream + own) + top, block


def logits(shape: Shape, setting: Setting) -> float:
    """Bytes of the loss: one chunk of logits, the output matrix in the products' type, and its
    gradient when it learns.

    Two moments of a chunk compete: its logits in 32 bit beside the exponentials that the softmax's
    sum is taken of; and, in bfloat16, its gradient beside a product as large as the matrix.
    """
    rows = min(CHUNK, setting.micro_tokens)
    half = setting.precision == "bf16"
    chunk = rows * shape.rows
    product = 2 * shape.matrix if half and setting.matrices else 0
    copy = 2 * shape.matrix if half and setting.shards == 1 else 0
    gradient = 4 * shape.matrix if setting.matrices else 0
    states = 3 * (2 if half else 4) * shape.hidden * setting.micro_tokens
    return float(max(8 * chunk, 2 * chunk + product) + copy + gradient + states)


def update(shape: Shape, setting: Setting) -> float:
    """Bytes beside the stored ones while moments are updated: small ones become 32-bit numbers
    again, slice by slice (train.moments).
    """
    largest = max(shape.matrix if setting.matrices else 0, shape.hidden * shape.inner)
    return float(UPDATING[setting.states] * min(SLICE, largest / setting.shards))


def training_memory(shape: Shape, setting: Setting, context: float = 0.0) -> Memory:
    """What one device holds at the fullest moment of a step.

    Three moments compete: the end of the forward pass, when all activations and the loss are there
    but only earlier micro-batches' gradients; the end of the backward pass, with all gradients and
    one block's activations; and the update of the moments. Autocast's copies of the weights live
    as long as the activations that need them: one block's, where blocks are computed again.

    Args:
        context: bytes that are taken beside tensors.
    """
    learning = setting.learning + setting.matrices * shape.matrix
    frozen = shape.parameters - min(learning, shape.parameters)
    if setting.inside.startswith("lora"):
        frozen = shape.parameters - setting.matrices * shape.matrix
    half = setting.frozen != "fp32" and setting.precision == "bf16"
    stored = (4 * learning + (2 if half else 4) * (frozen - setting.coded)) / setting.shards
    weights = stored + CODED.get(setting.frozen, 0) * setting.coded
    gradients = 4 * learning / setting.shards
    moments = MOMENTS[setting.states] * learning / setting.shards
    if setting.offload:
        weights, gradients, moments = weights - stored, 0.0, 0.0
    kept, again = activations(shape, setting)
    loss = logits(shape, setting)
    full_gradients = 2 * shape.block if setting.shards > 1 else 0
    early = late = _copies(shape, setting)
    if again and setting.products == "autocast":
        late = min(early, 2.0 * shape.block_matrices)
    forward = (early, gradients if setting.accumulates else 0.0, kept, loss)
    backward = (late, gradients + full_gradients, again or kept / shape.layers, 0.0)
    updating = (late, gradients, update(shape, setting), 0.0)
    copies, due, active, top = max(forward, backward, updating, key=sum)
    used = weights + copies + moments + due + active + top
    return Memory(weights + copies, due, moments, active, top, MARGIN * used + context)


def stored_memory(shape: Shape, setting: Setting) -> float:
    """Bytes of one device's part of the weights that learn, of their gradients and moments: what
    lies in the host's memory where the setting offloads.
    """
    learning = setting.learning + setting.matrices * shape.matrix
    frozen = max(0, shape.parameters - learning)
    half = setting.frozen != "fp32" and setting.precision == "bf16"
    each = 4 + 4 + MOMENTS[setting.states]
    return (each * learning + (2 if half else 4) * frozen) / setting.shards


def _copies(shape: Shape, setting: Setting) -> float:
    """Weights in bfloat16 beside the stored ones."""
    if setting.products == "fp32":
        return 0.0 if setting.shards == 1 else 4.0 * (2 * shape.block + shape.embeddings)
    if setting.products == "gathered":  # this block, the next, and the root's matrices
        return 2.0 * (2 * shape.block + shape.embeddings)
    if setting.frozen != "fp32" and setting.inside != "all":
        return 0.0
    return 2.0 * shape.layers * shape.block_matrices
