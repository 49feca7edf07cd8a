"""AdamW with small states: both moments in bfloat16, or in 8 bits a block of 256 values."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from langraft.train.shard import local

BLOCK = 256
SMALL = 4_096  # values; smaller parameters keep float32 states, they are a thousandth of a model
SLICE = 1 << 24  # values worked on at one time, so that float32 copies stay small


@cache
def codebook(signed: bool) -> Tensor:
    """The 256 values of dynamic 8-bit quantisation, sorted, shape (256,), float32.

    Seven decades, each with twice the values of the one below, so that small moments keep their
    relative precision. Source: T. Dettmers et al., 8-bit Optimizers via Block-wise Quantization,
    arXiv 2110.02861, section 1.3. The unsigned one has no 0: a second moment that is rounded to
    nothing beside a first that is not would make an update of first / epsilon.
    """
    bits = 7 if signed else 8
    values = [0.0, 1.0] if signed else [1.0]
    for decade in range(7):
        count = 2 ** (decade + bits - 7) + (0 if signed else 1) - 1
        edges = torch.linspace(0.1, 1, count + 1, dtype=torch.float64)
        middle = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (decade - 6)
        values += [v for m in middle.tolist() for v in ((m, -m) if signed else (m,))]
    book = sorted(values)
    spare = 256 - len(book)
    if spare > 0:  # halve the widest gaps with what is left
        for _ in range(spare):
            gap = max(range(len(book) - 1), key=lambda i: book[i + 1] - book[i])
            book.insert(gap + 1, (book[gap] + book[gap + 1]) / 2)
    return torch.tensor(book[:256], dtype=torch.float32)


def _blocked(values: Tensor) -> Tensor:
    """Rows of `values` cut into blocks, the last of a row padded with zeros: (rows, blocks,
    BLOCK).
    """
    rows, columns = values.shape
    missing = -columns % BLOCK
    return torch.nn.functional.pad(values, (0, missing)).view(rows, -1, BLOCK)


def quantise(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Codes (uint8, the shape of `values`) and the largest magnitude of each block, (rows, blocks).

    Blocks lie inside a row, so that any sharding by rows leaves them whole.
    """
    blocks = _blocked(values)
    scales = blocks.abs().amax(-1)
    unit = blocks / scales.clamp_min(1e-38)[..., None]
    book = codebook(signed).to(values.device)
    borders = (book[1:] + book[:-1]) / 2
    codes = torch.bucketize(unit, borders).to(torch.uint8)
    return codes.view(len(values), -1)[:, : values.shape[1]].contiguous(), scales


def dequantise(codes: Tensor, scales: Tensor, signed: bool) -> Tensor:
    """The values that `quantise` stands for, float32."""
    book = codebook(signed).to(codes.device)
    blocks = _blocked(book[codes.int()])
    return (blocks * scales[..., None]).view(len(codes), -1)[:, : codes.shape[1]]


class CompactAdamW(torch.optim.Optimizer):
    """AdamW whose moments take 4 (bf16) or about 2 (8 bit) bytes a parameter instead of 8.

    The update is computed in float32 from the states as they were stored; states are `first` and
    `second`, with `first_scale` and `second_scale` in 8 bits, each sharded as its parameter.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        states: Literal["bf16", "8bit"],
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": 1e-8, "weight_decay": 0.0})
        self._states = states

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        del closure
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _kind(self, parameter: Tensor) -> str:
        if parameter.ndim != 2 or parameter.numel() < SMALL:
            return "fp32"
        return self._states

    def begin(self, parameter: Tensor) -> dict[str, Any]:
        """Zero states: tensors like the parameter, so that they are sharded like it."""
        state, kind = self.state[parameter], self._kind(parameter)
        if state:
            return state
        state["step"] = torch.zeros(())
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "8bit": torch.uint8}[kind]
        for name, signed in (("first", True), ("second", False)):
            if kind == "8bit":
                zero = int(codebook(signed).abs().argmin())
                state[name] = torch.full_like(parameter, zero, dtype=dtype)
                blocks = -(-parameter.shape[1] // BLOCK)
                state[f"{name}_scale"] = torch.zeros_like(parameter)[:, :blocks].contiguous()
            else:
                state[name] = torch.zeros_like(parameter, dtype=dtype)
        return state

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        state = self.begin(parameter)
        state["step"] += 1
        parts = {name: local(value) for name, value in state.items() if name != "step"}
        weight, gradient = local(parameter), local(parameter.grad)  # type: ignore[arg-type]
        rows = max(1, SLICE // max(1, weight[0].numel())) if len(weight) else 1
        for start in range(0, len(weight), rows):
            here = slice(start, start + rows)
            _adamw(
                weight[here],
                gradient[here].float(),
                {name: value[here] for name, value in parts.items()},
                float(state["step"]),
                group,
            )


def _adamw(
    weight: Tensor, gradient: Tensor, state: dict[str, Tensor], step: float, group: dict[str, Any]
) -> None:
    """Loshchilov and Hutter's update (arXiv 1711.05101) of one slice, in place."""
    beta1, beta2 = group["betas"]
    first = _read(state, "first").lerp_(gradient, 1 - beta1)
    second = _read(state, "second").mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    _store(state, "first", first)
    _store(state, "second", second)
    size = group["lr"] / (1 - beta1**step)
    root = (second / (1 - beta2**step)).sqrt_().add_(group["eps"])
    weight.mul_(1 - group["lr"] * group["weight_decay"]).addcdiv_(first, root, value=-size)


def _read(state: dict[str, Tensor], name: str) -> Tensor:
    if f"{name}_scale" in state:
        return dequantise(state[name], state[f"{name}_scale"], name == "first")
    return state[name].float() if state[name].dtype != torch.float32 else state[name]


def _store(state: dict[str, Tensor], name: str, value: Tensor) -> None:
    if f"{name}_scale" in state:
        codes, scales = quantise(value, name == "first")
        state[name].copy_(codes)
        state[f"{name}_scale"].copy_(scales)
    else:
        state[name].copy_(value)
