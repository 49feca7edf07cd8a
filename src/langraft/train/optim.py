"""The optimiser: AdamW with a rate for each kind of parameter, and new rows with a rate of their
own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from langraft.train.moments import CompactAdamW
from langraft.train.shard import first_row, local


@dataclasses.dataclass(frozen=True)
class NewRows:
    """Rows `first:last` of the embedding matrices: the pieces that the extension added.

    Their rate differs from their matrix's by `ratio`. With `only`, no other row of the matrices
    learns.
    """

    first: int
    last: int
    ratio: float = 1.0
    only: bool = False

    def inside(self, matrix: Tensor) -> slice:
        """Where the new rows lie in this rank's part of `matrix`."""
        start, size = first_row(matrix), len(local(matrix))
        return slice(min(max(self.first - start, 0), size), min(max(self.last - start, 0), size))


class Optimiser:
    """AdamW (arXiv 1711.05101). Embeddings, norms and everything else with one dimension are not
    decayed.

    A matrix is one parameter, so rows with another rate get it after the step: AdamW's update is
    proportional to the rate,
    and scaling the change of those rows is the same as having had the other rate.

    Attributes:
        parameters: what learns, by name.
        factor: multiplies every rate; a controller may lower it. Part of the state.
    """

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        lr: float,
        *,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.95),
        matrices: Sequence[nn.Parameter] = (),
        new_rows: NewRows | None = None,
        lr_matrices: float | None = None,
        states: Literal["fp32", "bf16", "8bit"] = "fp32",
    ) -> None:
        """Lay out the groups; `matrices` are those of `parameters` that `new_rows` and
        `lr_matrices` speak of.
        """
        self.parameters = parameters
        self.factor = 1.0
        self._matrices = [m for m in matrices if m.requires_grad]
        self._new_rows = new_rows
        chosen = {id(matrix) for matrix in matrices}
        rest = [p for p in parameters.values() if id(p) not in chosen]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in rest if p.ndim > 1], "weight_decay": weight_decay, "peak": lr},
            {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "peak": lr},
            {
                "params": [p for p in parameters.values() if id(p) in chosen],
                "weight_decay": 0.0,
                "peak": lr if lr_matrices is None else lr_matrices,
            },
        ]
        groups = [group for group in groups if group["params"]]
        if states == "fp32":
            self._adam: torch.optim.Optimizer = torch.optim.AdamW(
                groups, lr=lr, betas=betas, fused=True
            )
        else:
            self._adam = CompactAdamW(groups, lr=lr, betas=betas, states=states)

    def norm(self) -> Tensor:
        """The norm of all gradients over all ranks, those that must not learn left out; a scalar on
        the device.
        """
        if self._new_rows is not None and self._new_rows.only:
            for matrix in self._matrices:
                _keep_rows(matrix, self._new_rows)
        norm = nn.utils.get_total_norm(
            [p.grad for p in self.parameters.values() if p.grad is not None]
        )
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def update(self, share: float, clip: float, norm: Tensor) -> None:
        """Clip the gradients, whose norm is `norm`, to `clip`; update at `share` of the peak rates;
        forget the gradients.
        """
        nn.utils.clip_grads_with_norm_(list(self.parameters.values()), clip, norm)
        for group in self._adam.param_groups:
            group["lr"] = group["peak"] * share * self.factor
        before = self._rows_before()
        self._adam.step()
        self.drop()
        for rows, old in before:
            rows.copy_(old + (rows - old) * self._new_rows.ratio)  # type: ignore[union-attr]

    def drop(self) -> None:
        """Forget the gradients."""
        self._adam.zero_grad(set_to_none=True)

    def step(self, share: float, clip: float) -> Tensor:
        """`update` with the norm of the gradients; returns the norm before clipping."""
        norm = self.norm()
        self.update(share, clip, norm)
        return norm

    def _rows_before(self) -> list[tuple[Tensor, Tensor]]:
        if self._new_rows is None or self._new_rows.ratio == 1.0:
            return []
        rows = [local(m.detach())[self._new_rows.inside(m)] for m in self._matrices]
        return [(r, r.clone()) for r in rows]

    def finite(self) -> bool:
        """Whether every weight that this rank holds is finite."""
        norms = torch._foreach_norm([local(p.detach()) for p in self.parameters.values()])
        return bool(torch.stack([n.to("cpu", torch.float64) for n in norms]).isfinite().all())

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's tensors by `parameter name/moment`, for a checkpoint."""
        return {
            f"{name}/{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self._adam.state[parameter].items()
            if key != "step"
        }

    def counts(self) -> dict[str, float]:
        """How many updates each parameter has had."""
        found = {n: self._adam.state[p].get("step") for n, p in self.parameters.items()}
        return {name: float(count) for name, count in found.items() if count is not None}

    def load(self, tensors: Mapping[str, Tensor], counts: Mapping[str, float]) -> None:
        """Put back what `tensors` and `counts` returned."""
        for name, count in counts.items():
            parameter = self.parameters[name]
            device = local(parameter).device if not self._compact else "cpu"
            self._adam.state[parameter]["step"] = torch.tensor(count, device=device)
        for key, value in tensors.items():
            name, moment = key.rsplit("/", 1)
            parameter = self.parameters[name]
            self._adam.state[parameter][moment] = value.to(local(parameter).device)

    def blank(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Tensors of the shapes that a state with `names` (parameters that had updates) has, to be
        read into.
        """
        if isinstance(self._adam, CompactAdamW):
            for name in names:
                self._adam.begin(self.parameters[name])
            return self.tensors()
        return {
            f"{name}/{moment}": torch.zeros_like(self.parameters[name].detach())
            for name in names
            for moment in ("exp_avg", "exp_avg_sq")
        }

    def forget(self) -> None:
        """Be as new: no moments, no updates."""
        self._adam.state.clear()

    @property
    def _compact(self) -> bool:
        return isinstance(self._adam, CompactAdamW)


def _keep_rows(matrix: nn.Parameter, rows: NewRows) -> None:
    """Zero the gradient of every row that is not new: AdamW then leaves it exactly as it is."""
    assert matrix.grad is not None
    gradient, inside = local(matrix.grad), rows.inside(matrix)
    gradient[: inside.start].zero_()
    gradient[inside.stop :].zero_()
