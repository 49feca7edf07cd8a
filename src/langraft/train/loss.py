"""Cross-entropy over a large vocabulary without ever holding all logits: chunks of rows, gradients
made in the forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from langraft.data.pack import IGNORE

CHUNK_ROWS = 512


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
        grad_weight = (
            torch.zeros_like(weight_VD, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        )
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
                grad_weight += grad_logits.T @ hidden
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight_VD.dtype
        ctx.mark_non_differentiable(logprobs)
        loss = -logprobs.sum()
        return (loss + extra if z_loss or smoothing else loss), logprobs

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        scale = grads[0]
        grad_hidden, grad_weight = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden * scale.to(grad_hidden.dtype),
            None if grad_weight is None else (grad_weight * scale).to(ctx.weight_dtype),
            *(None,) * 4,
        )


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
        weight_VD: the output matrix, shape (V, D).
        labels_T: target ids, shape (T,), int64.
        chunk: rows whose logits exist at one time; peak memory is chunk x V float32 twice.
        z_loss: weight of the squared logarithm of the softmax's partition, added to each label's
            loss (PaLM, arXiv 2204.02311, section 5).
        smoothing: share of the target that goes to all ids alike (arXiv 1512.00567).

    Returns:
        The summed loss in nats (differentiable once in hidden and weight), the number of labels
        that counted, and the
        log-probability of every counted label, shape (counted,), without gradient.
    """
    kept = labels_T != IGNORE
    labels = labels_T[kept]
    total, logprobs = _ChunkedCrossEntropy.apply(
        hidden_TD[kept], weight_VD, labels, chunk, z_loss, smoothing
    )
    return total, int(labels.numel()), logprobs
