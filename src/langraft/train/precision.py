"""What the device computes in."""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch


@dataclasses.dataclass(frozen=True)
class Device:
    """Where tensors live, and whether products are taken in bfloat16 (weights and moments stay
    float32).

    Attributes:
        cast: weights are cast at each product; False where sharding hands them out in bfloat16.
    """

    name: Literal["cpu", "cuda"]
    bf16: bool
    cast: bool = True

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.name, torch.bfloat16, enabled=self.bf16 and self.cast)


def choose_device(devices: str, precision: str) -> Device:
    """A GPU when there is one (or asked for), bfloat16 where the device has instructions for it (or
    asked for).
    """
    cuda = devices == "cuda" or (devices == "auto" and torch.cuda.is_available())
    able = torch.cuda.is_bf16_supported() if cuda else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return Device("cuda" if cuda else "cpu", precision == "bf16" or (precision == "auto" and able))
