"""Cross-entropy over a large vocabulary without ever holding all logits: chunks of rows, gradients
made in the forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from langraft.data.pack import IGNORE

CHUNK_ROWS = 256
ADDED_ROWS = 512  # of the matrix, that are added at one time on a processor


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_TD: Tensor,
        weight_VD: Tensor,
        labels_T: Tensor,
        chunk: int,
        z_loss: float,
        smoothing: float,
    ) -> tuple[Tensor, Tensor]:
        grad_hidden = torch.empty_like(hidden_TD) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        weight = weight_VD.to(hidden_TD.dtype)
        logprobs = torch.empty(hidden_TD.shape[0], dtype=torch.float32, device=hidden_TD.device)
        extra = torch.zeros((), dtype=torch.float32, device=hidden_TD.device)
        for start in range(0, hidden_TD.shape[0], chunk):
            rows = slice(start, start + chunk)
            hidden, labels = hidden_TD[rows], labels_T[rows]
            logits = (hidden @ weight.T).float()
            partition = logits.logsumexp(-1, keepdim=True)
            logits -= partition  # now log-probabilities
            logprobs[rows] = logits.gather(-1, labels[:, None])[:, 0]
            if z_loss or smoothing:
                extra += z_loss * partition.square().sum()
                extra -= smoothing * (logits.mean(-1) - logprobs[rows]).sum()
            if grad_hidden is None and grad_weight is None:
                continue
            grad_logits = logits.exp_()
            if z_loss:
                grad_logits *= 1 + 2 * z_loss * partition
            grad_logits.scatter_add_(
                -1,
                labels[:, None],
                torch.full_like(labels[:, None], smoothing - 1, dtype=logits.dtype),
            )
            if smoothing:
                grad_logits -= smoothing / grad_logits.shape[-1]
            grad_logits = grad_logits.to(hidden.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = grad_logits @ weight
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits, hidden)
        ctx.grads = grad_hidden, grad_weight
        ctx.mark_non_differentiable(logprobs)
        loss = -logprobs.sum(dtype=torch.float64)
        return (loss + extra if z_loss or smoothing else loss), logprobs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        assert ctx.grads is not None, "differentiable once"
        made, ctx.grads = ctx.grads, None  # scaled in place: they are as large as the matrix
        return (*(None if g is None else g.mul_(scale.to(g.dtype)) for g in made), *(None,) * 4)


def _add_product(total_VD: Tensor, logits_TV: Tensor, hidden_TD: Tensor) -> None:
    """total += logits.T @ hidden in place; a sum in another dtype than the products' is float32.

    A processor adds numbers of two dtypes through a copy of the narrower ones in the wider dtype,
    twice the matrix here; some rows at a time it stays in the cache.
    """
    if total_VD.dtype == logits_TV.dtype:
        total_VD.addmm_(logits_TV.T, hidden_TD)
        return
    product = logits_TV.T @ hidden_TD
    rows = ADDED_ROWS if total_VD.is_cpu else len(total_VD)
    for start in range(0, len(total_VD), rows):
        total_VD[start : start + rows] += product[start : start + rows]


def linear_cross_entropy(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    labels_T: Tensor,
    chunk: int = CHUNK_ROWS,
    *,
    z_loss: float = 0.0,
    smoothing: float = 0.0,
) -> tuple[Tensor, int, Tensor]:
    """Cross-entropy of `hidden @ weight.T` against `labels`, IGNORE left out.

    Args:
        hidden_TD: last hidden states, shape (T, D); its dtype is the dtype of the products, sums
            are float32.
        weight_VD: the output matrix, shape (V, D); its gradient is summed over the chunks in its
            own dtype.
        labels_T: target ids, shape (T,), int64.
        chunk: rows whose logits exist at one time; peak memory is chunk x V float32 twice.
        z_loss: weight of the squared logarithm of the softmax's partition, added to each label's
            loss (PaLM, arXiv 2204.02311, section 5).
        smoothing: share of the target that goes to all ids alike (arXiv 1512.00567).

    Returns:
        The summed loss in nats, float64 (differentiable once in hidden and weight), the number of
        labels that counted, and the log-probability of every counted label, shape (counted,),
        without gradient.
    """
    kept = labels_T != IGNORE
    labels = labels_T[kept]
    total, logprobs = _ChunkedCrossEntropy.apply(
        hidden_TD[kept], weight_VD, labels, chunk, z_loss, smoothing
    )
    return total, int(labels.numel()), logprobs


class _ChunkedLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_TD: Tensor, weight_VD: Tensor, labels_T: Tensor, chunk: int
    ) -> Tensor:
        weight = weight_VD.to(hidden_TD.dtype)
        found = torch.empty(hidden_TD.shape[0], dtype=torch.float32, device=hidden_TD.device)
        for start in range(0, hidden_TD.shape[0], chunk):
            rows = slice(start, start + chunk)
            logits = (hidden_TD[rows] @ weight.T).float()
            picked = logits.gather(-1, labels_T[rows, None])[:, 0]
            found[rows] = picked - logits.logsumexp(-1)
        ctx.save_for_backward(hidden_TD, weight_VD, labels_T)
        ctx.chunk = chunk
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        hidden_TD, weight_VD, labels_T = ctx.saved_tensors
        weight = weight_VD.to(hidden_TD.dtype)
        grad_hidden = torch.empty_like(hidden_TD) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        for start in range(0, hidden_TD.shape[0], ctx.chunk):
            rows = slice(start, start + ctx.chunk)
            logits = (hidden_TD[rows] @ weight.T).float()
            grad_logits = torch.softmax(logits, -1).neg_()
            ones = torch.ones_like(labels_T[rows, None], dtype=grad_logits.dtype)
            grad_logits.scatter_add_(-1, labels_T[rows, None], ones)
            grad_logits = (grad_logits * grads[0][rows, None]).to(hidden_TD.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = grad_logits @ weight
            if grad_weight is not None:
                _add_product(grad_weight, grad_logits, hidden_TD[rows])
        return grad_hidden, grad_weight, None, None


def linear_logprobs(
    hidden_TD: Tensor, weight_VD: Tensor, labels_T: Tensor, chunk: int = CHUNK_ROWS
) -> Tensor:
    """The log-probability of every label under softmax(hidden @ weight.T), with gradient; IGNORE
    left out, shape (counted,), float32.

    For losses that weigh labels or sequences against one another; logits are made again in the
    backward pass, chunk by chunk, so that a plain sum is cheaper with `linear_cross_entropy`.
    """
    kept = labels_T != IGNORE
    found: Tensor = _ChunkedLogprobs.apply(hidden_TD[kept], weight_VD, labels_T[kept], chunk)
    return found
