"""Operations, hours and money of a stage."""

from __future__ import annotations

import dataclasses

from langraft.core.compute import attention_flops, token_flops
from langraft.plan.devices import Device
from langraft.plan.shape import Shape


@dataclasses.dataclass(frozen=True)
class Work:
    """Operations of one token.

    Attributes:
        useful: forward, gradients of activations, gradients of what learns: what MFU counts.
        again: blocks that are computed a second time to spare memory.
    """

    useful: float
    again: float

    @property
    def executed(self) -> float:
        """What the device does."""
        return self.useful + self.again


def work(
    shape: Shape, *, learning: float, mean_document: float, checkpointing: str = "none"
) -> Work:
    """Operations a token; see `langraft.core.compute`.

    Args:
        learning: weights of matrices that learn, an adapter's counted three times (2 N forward as
            well, on top of the frozen layer's).
        mean_document: tokens of the document that a token stands in, as its mean over tokens.
    """
    width = shape.layers * shape.queries
    useful = token_flops(shape.matmul, learning, width, mean_document)
    blocks = 2 * shape.layers * shape.block_matrices
    full = blocks + attention_flops(width, mean_document)
    again = {"none": 0.0, "selective": 0.0, "full": full}[checkpointing]
    return Work(useful, again)


@dataclasses.dataclass(frozen=True)
class Time:
    """Hours of a stage on all its devices: at a good, the usual, and a poor share of the peak."""

    good: float
    usual: float
    poor: float

    def money(self, devices: int, price: float) -> tuple[float, float, float]:
        """The same in money, at `price` a device-hour."""
        good, usual, poor = (hours * devices * price for hours in dataclasses.astuple(self))
        return good, usual, poor


def hours(operations: float, device: Device, devices: int, efficiency: float = 1.0) -> Time:
    """How long `operations` take; `efficiency` is the share that several devices keep of one's."""
    poor, usual, good = (
        operations / (device.peak * share * devices * efficiency) / 3600 for share in device.shares
    )
    return Time(good=good, usual=usual, poor=poor)
