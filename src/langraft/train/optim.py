"""The optimiser: which parameters learn at which rate, the schedule, and new rows with a rate of
their own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

Train = Literal["new-rows", "embeddings", "full"]


def wsd(step: int, steps: int, warmup: float, decay: float) -> float:
    """The warm-up, stable, decay schedule (MiniCPM, arXiv 2404.06395): the share of the peak rate
    at 0-based `step`.

    Linear from 1/(warm-up steps) to 1, constant, then linear towards 0, which the step after the
    last would reach.
    """
    rising, falling = round(steps * warmup), round(steps * decay)
    if step < rising:
        return (step + 1) / rising
    if step >= steps - falling:
        return (steps - step) / (falling + 1)
    return 1.0


def embedding_matrices(model: PreTrainedModel) -> list[nn.Parameter]:
    """The input matrix, and the output matrix when it is not the same one."""
    matrices = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    return matrices[:1] if matrices[0] is matrices[1] else matrices


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


def select(model: PreTrainedModel, train: Train) -> dict[str, nn.Parameter]:
    """The parameters that `train` lets learn, by name; all others are frozen."""
    matrices = {id(matrix) for matrix in embedding_matrices(model)}
    chosen = {}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(train == "full" or id(parameter) in matrices)
        if parameter.requires_grad:
            chosen[name] = parameter
    return chosen


class Optimiser:
    """AdamW (arXiv 1711.05101). Embeddings, norms and everything else with one dimension are not
    decayed.

    A matrix is one parameter, so rows with another rate get it after the step: AdamW's update is
    proportional to the rate,
    and scaling the change of those rows is the same as having had the other rate.
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
    ) -> None:
        """Lay out the groups; `matrices` are those of `parameters` that `new_rows` speaks of."""
        self.parameters = parameters
        self._matrices = [m for m in matrices if m.requires_grad]
        self._new_rows = new_rows
        self._lr = lr
        chosen = {id(matrix) for matrix in matrices}
        decayed = [p for p in parameters.values() if p.ndim > 1 and id(p) not in chosen]
        plain = [p for p in parameters.values() if p.ndim <= 1 or id(p) in chosen]
        groups = [
            {"params": decayed, "weight_decay": weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        self._adam = torch.optim.AdamW(
            [g for g in groups if g["params"]], lr=lr, betas=betas, fused=True
        )

    def step(self, share: float, clip: float) -> Tensor:
        """Clip the gradients to norm `clip`, update at `share` of the peak rate, and return the
        norm before clipping.
        """
        if self._new_rows is not None and self._new_rows.only:
            for matrix in self._matrices:
                _keep_rows(matrix.grad, self._new_rows)
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), clip)
        for group in self._adam.param_groups:
            group["lr"] = self._lr * share
        before = self._rows_before()
        self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        for rows, old in before:
            rows.copy_(old + (rows - old) * self._new_rows.ratio)  # type: ignore[union-attr]
        return norm

    def _rows_before(self) -> list[tuple[Tensor, Tensor]]:
        if self._new_rows is None or self._new_rows.ratio == 1.0:
            return []
        rows = [m.detach()[self._new_rows.first : self._new_rows.last] for m in self._matrices]
        return [(r, r.clone()) for r in rows]

    def tensors(self) -> dict[str, Tensor]:
        """The optimiser's state by `parameter name/moment`, for a checkpoint."""
        found = {}
        for name, parameter in self.parameters.items():
            for key, value in self._adam.state[parameter].items():
                found[f"{name}/{key}"] = value
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` returned."""
        for key, value in tensors.items():
            name, moment = key.rsplit("/", 1)
            parameter = self.parameters[name]
            self._adam.state[parameter][moment] = value.to(parameter.device)


def _keep_rows(gradient: Tensor | None, rows: NewRows) -> None:
    """Zero the gradient of every row that is not new: AdamW then leaves it exactly as it is."""
    assert gradient is not None
    gradient[: rows.first].zero_()
    gradient[rows.last :].zero_()
