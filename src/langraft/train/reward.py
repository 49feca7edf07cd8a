"""The reward model: a scalar head on a language model, and what is to be known about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from langraft.core.errors import BadInput

BINS = 10


def with_head(model: PreTrainedModel, pad: int, seed: int) -> PreTrainedModel:
    """A sequence-classification model with the trunk of the causal `model` and a new scalar head.

    transformers reads the reward at the last token that is not `pad`, so that must be a token which
    never ends an answer.

    Raises:
        BadInput: transformers has no such head for this kind of model, or calls it otherwise.
    """
    config = type(model.config).from_dict(model.config.to_dict())
    config.num_labels, config.pad_token_id = 1, pad
    config.architectures = None
    try:
        found: PreTrainedModel = AutoModelForSequenceClassification.from_config(config)
    except ValueError as error:
        raise BadInput(f"a {config.model_type} model has no reward head ({error})") from error
    if not isinstance(getattr(found, "score", None), torch.nn.Linear):
        raise BadInput(f"a {config.model_type} model keeps its head elsewhere than in `score`")
    found.base_model.load_state_dict(model.base_model.state_dict())
    width = found.score.weight.shape[1]
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        drawn = torch.randn(1, width, generator=generator) / (width + 1) ** 0.5
        found.score.weight.copy_(drawn)
    return found.float().eval()


def pad_for_rewards(tokenizer: Any, end: int) -> int:
    """A token for padding that is not the one at the end of an answer.

    Raises:
        BadInput: the tokenizer has none.
    """
    candidates = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id)
    others = (n for n in tokenizer.all_special_ids)
    for candidate in (*candidates, *others):
        if candidate is not None and candidate != end:
            return int(candidate)
    raise BadInput("the tokenizer has no special token but the one that ends answers, to pad with")


def judged(rewards: NDArray[np.float64], lengths: NDArray[np.int64]) -> dict[str, Any]:
    """What held-out pairs say of a reward model.

    Args:
        rewards: of chosen and rejected, shape (pairs, 2).
        lengths: tokens of both answers, shape (pairs, 2).

    Returns:
        accuracy (ties count half), its standard error, the mean gap; the expected calibration error
        of sigmoid(gap) in ten bins; and how far length explains it: the accuracy of "the longer is
        better", accuracy where chosen is the longer and where it is the shorter, and the
        correlation of the gap with the difference of lengths.
    """
    gap = rewards[:, 0] - rewards[:, 1]
    longer = lengths[:, 0] - lengths[:, 1]
    right = np.where(gap == 0, 0.5, gap > 0)
    accuracy = float(right.mean())
    found: dict[str, Any] = {
        "pairs": len(gap),
        "accuracy": accuracy,
        "standard_error": float(np.sqrt(accuracy * (1 - accuracy) / len(gap))),
        "gap": float(gap.mean()),
        "calibration_error": calibration_error(gap),
        "length_accuracy": float(np.where(longer == 0, 0.5, longer > 0).mean()),
        "accuracy_chosen_longer": _mean(right[longer > 0]),
        "accuracy_chosen_shorter": _mean(right[longer < 0]),
        "length_correlation": _correlation(gap, longer),
    }
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()}


def calibration_error(gap: NDArray[np.float64]) -> float:
    """|share that is right - mean confidence| over ten equal bins of confidence from 0.5 to 1,
    weighted by their pairs (Naeini et al. 2015); confidence is sigmoid(|gap|).
    """
    confidence = 1 / (1 + np.exp(-np.abs(gap)))
    right = np.where(gap == 0, 0.5, gap > 0)
    bins = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    error = 0.0
    for number in range(BINS):
        inside = bins == number
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return float(error)


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _correlation(a: NDArray[np.float64], b: NDArray[np.int64]) -> float | None:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else None
