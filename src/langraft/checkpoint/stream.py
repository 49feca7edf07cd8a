"""Tensors that are not in memory: a name, a shape, and a way to get some of the rows.

Every operation on checkpoints maps such tensors to others; nothing is read before the writer asks
for rows, and it asks for a few megabytes at a time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from langraft.core.errors import BadInput

# Small enough that a block and its float32 copy stay in a core's cache, large enough that a matrix
# product on it runs at full speed.
BLOCK_ELEMENTS = 1 << 20

Rows = Callable[[int, int], Tensor]


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """One tensor of a checkpoint.

    Attributes:
        name: its name in the state dict.
        dtype, shape: what it has on disk, or will have.
        rows: `rows(start, stop)` gives rows of the first dimension, shape (stop - start,
            *shape[1:]), in `dtype` or a wider one; the writer casts. A tensor without dimensions
            has one row and gives shape (1,).
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    rows: Rows

    @property
    def height(self) -> int:
        """Rows of the first dimension; 1 for a tensor without dimensions."""
        return self.shape[0] if self.shape else 1

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes on disk."""
        return self.elements * self.dtype.itemsize

    def blocks(self) -> Iterator[Tensor]:
        """All rows in order, about BLOCK_ELEMENTS elements at a time, cast to `dtype`."""
        for start, stop in spans(self.height, self.elements):
            yield self.rows(start, stop).to(self.dtype)

    def whole(self) -> Tensor:
        """The whole tensor in memory, in its own shape and dtype."""
        return self.rows(0, self.height).to(self.dtype).reshape(self.shape)


def spans(height: int, elements: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows that cover `height` rows of a tensor of `elements`, a block each."""
    if not elements:
        return
    step = max(1, BLOCK_ELEMENTS * height // elements)
    for start in range(0, height, step):
        yield start, min(height, start + step)


def in_memory(name: str, tensor: Tensor) -> StoredTensor:
    """A tensor that is in memory already."""
    flat = tensor.reshape(1) if tensor.ndim == 0 else tensor
    return StoredTensor(name, tensor.dtype, tuple(tensor.shape), lambda a, b: flat[a:b])


def require_finite(name: str, block: Tensor, where: object) -> None:
    """Refuse NaN and infinity.

    Raises:
        BadInput: `block` of tensor `name` holds one; the message names `where` it came from.
    """
    if not block.is_floating_point() or not block.numel():
        return
    # the extremes are NaN when any element is, and cost a tenth of isfinite() on every element
    low, high = torch.aminmax(block.float() if block.dtype.itemsize == 1 else block)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise BadInput(
            f"{where}: tensor {name!r} holds NaN or infinite values; the weights are damaged, "
            "fetch or make them again"
        )
