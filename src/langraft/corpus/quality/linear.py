"""A linear classifier of good and bad text on hashed character n-grams, trained in seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from langraft.core.errors import BadInput
from langraft.core.io import write_atomic
from langraft.corpus.fold import code_points
from langraft.corpus.kernels.compiling import compiled
from langraft.corpus.kernels.hashing import BASIS, MIX

BITS = 20  # 4 MB of weights
ORDER = 3  # n-grams of 1 to 3 characters
READ = 2_000  # characters of a text that are looked at
EPOCHS = 5
RATE = 0.5
LEAST = 20  # texts of either kind
FORMAT = "langraft linear scorer 1"


class LinearScorer:
    """The probability that a text is of the good kind, 0 to 1."""

    name = "good"
    higher_is_better = True

    def __init__(self, weights: npt.NDArray[np.float32], bias: float) -> None:
        self._weights = weights
        self._bias = bias

    def scores(self, texts: Sequence[str]) -> list[float]:
        """The probability of each text; 0.5 says nothing either way."""
        codes, offsets = code_points([text[:READ] for text in texts])
        logits = _logits(codes, offsets, self._weights, self._bias)
        return [float(value) for value in 1 / (1 + np.exp(-logits))]

    def save(self, path: Path) -> None:
        """Write the weights to a safetensors file."""
        tensors = {"weights": self._weights, "bias": np.array([self._bias], np.float32)}
        write_atomic(path, save(tensors, {"format": FORMAT, "settings": json.dumps([BITS, ORDER])}))


def load_linear(path: Path) -> LinearScorer:
    """The scorer in `path`.

    Raises:
        BadInput: there is none.
    """
    try:
        with safe_open(path, "np") as stored:
            if (stored.metadata() or {}).get("format") != FORMAT:
                raise BadInput(f"{path}: holds no {FORMAT}")
            return LinearScorer(stored.get_tensor("weights"), float(stored.get_tensor("bias")[0]))
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path}: not a scorer's file ({error})") from error


class Trained(NamedTuple):
    """A trained scorer, and how well it parts texts that it was not trained on.

    Attributes:
        scorer: the classifier.
        auc: the probability that a held-out good text scores above a held-out bad one.
        good: texts of the good kind, held-out ones included.
        bad: texts of the bad kind.
    """

    scorer: LinearScorer
    auc: float
    good: int
    bad: int


def train_linear(
    good: Iterable[str], bad: Iterable[str], seed: int = 0, holdout: float = 0.1
) -> Trained:
    """Logistic regression by AdaGrad on both kinds, each with the same total weight.

    Args:
        good: examples of text to keep.
        bad: examples of text to drop.
        seed: of the order of training and of the held-out choice.
        holdout: the share of either kind that is set aside for the AUC.

    Raises:
        BadInput: a kind has too few texts.
    """
    texts = [[text[:READ] for text in kind if text.strip()] for kind in (bad, good)]
    for name, kind in zip(("bad", "good"), texts, strict=True):
        if len(kind) < LEAST:
            raise BadInput(f"corpus.quality.{name}: {len(kind)} texts; {LEAST} are the least")
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [len(kind) for kind in texts])
    order = random.permutation(len(labels))
    held = np.zeros(len(labels), bool)
    for label in (0, 1):
        mine = order[labels[order] == label]
        held[mine[: max(1, round(holdout * len(mine)))]] = True
    together = texts[0] + texts[1]
    codes, offsets = code_points(together)
    weights, bias = np.zeros(1 << BITS, np.float32), np.zeros(1, np.float32)
    squares = np.full((1 << BITS) + 1, 1e-2, np.float32)
    balance = np.float32(0.5 * len(labels) / np.bincount(labels)).astype(np.float32)
    for _ in range(EPOCHS):
        turn = random.permutation(np.flatnonzero(~held))
        _epoch(codes, offsets, labels, turn, weights, bias, squares, balance, np.float32(RATE))
    scorer = LinearScorer(weights, float(bias[0]))
    mine = np.flatnonzero(held)
    scores = np.array(scorer.scores([together[number] for number in mine]))
    return Trained(scorer, auc(scores, labels[mine] == 1), len(texts[1]), len(texts[0]))


def auc(scores: npt.NDArray[np.float64], good: npt.NDArray[np.bool_]) -> float:
    """The area under the ROC curve: Mann-Whitney's U over the number of pairs; ties count half."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    goods, bads = int(good.sum()), int((~good).sum())
    return float((rank[good].sum() - goods * (goods + 1) / 2) / (goods * bads))


@compiled
def _features(codes: Any, start: int, stop: int, out: Any) -> Any:
    """The hashed n-grams of `codes[start:stop]` into `out`; how many they are.

    Every digit counts as 0; any white space as one space.
    """
    count = 0
    for position in range(start, stop):
        value = np.uint64(BASIS)
        for n in range(ORDER):
            if position + n >= stop:
                break
            code = codes[position + n]
            if 0x30 <= code <= 0x39:
                code = np.uint32(0x30)
            elif code == 0x09 or code == 0x0A or code == 0x3000:
                code = np.uint32(0x20)
            value = (value ^ np.uint64(code)) * np.uint64(MIX)
            mixed = value ^ (value >> np.uint64(29))
            out[count] = mixed >> np.uint64(64 - BITS)
            count += 1
    return count


@compiled
def _logit(found: Any, count: Any, weights: Any, bias: Any) -> Any:
    total = np.float32(0)
    for place in range(count):
        total += weights[found[place]]
    return total / np.sqrt(np.float32(max(1, count))) + bias


@compiled
def _logits(codes: Any, offsets: Any, weights: Any, bias: Any) -> Any:
    found = np.empty(ORDER * READ, np.int64)
    logits = np.empty(len(offsets) - 1, np.float64)
    for text in range(len(logits)):
        count = _features(codes, offsets[text], offsets[text + 1], found)
        logits[text] = _logit(found, count, weights, np.float32(bias))
    return logits


@compiled
def _epoch(
    codes: Any,
    offsets: Any,
    labels: Any,
    turn: Any,
    weights: Any,
    bias: Any,
    squares: Any,
    balance: Any,
    rate: Any,
) -> None:
    """One pass: AdaGrad (Duchi et al. 2011) on the logistic loss, one text at a time.

    A text is the counts of its n-grams over the square root of their number.
    """
    found = np.empty(ORDER * READ, np.int64)
    for text in turn:
        count = _features(codes, offsets[text], offsets[text + 1], found)
        logit = _logit(found, count, weights, bias[0])
        label = labels[text]
        error = (np.float32(1) / (np.float32(1) + np.exp(-logit)) - label) * balance[label]
        squares[-1] += error * error
        bias[0] -= rate * error / np.sqrt(squares[-1])
        slope = error / np.sqrt(np.float32(max(1, count)))
        for place in range(count):
            feature = found[place]
            squares[feature] += slope * slope
            weights[feature] -= rate * slope / np.sqrt(squares[feature])
