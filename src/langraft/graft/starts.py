"""Where new rows start: each method makes the rows of all new pieces from one base matrix.

A method is a pure function `(matrix_VD, knowledge, output) -> rows_ND` in float32: a table, so that
methods can be measured beside one another. The larger cost of all of them is memory traffic, and
none holds more than BLOCK_ROWS gathered rows beside its result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from langraft.core.errors import BadInput
from langraft.graft.vectors import Vectors

BLOCK_ROWS = 2_048
TILT = 0.1
NEIGHBOURS = 16
ATOMS = 8


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """What new rows may be made from.

    Attributes:
        subtokens: for each new piece the base ids that spell it in mid-text.
        translations: for each piece the base ids that spell each of its translations; None without
            a word list.
        vectors: base ids and pieces as vectors of one other space; None without a text or a donor.
        seed: decides the random rows.
    """

    subtokens: Sequence[Sequence[int]]
    translations: Sequence[Sequence[Sequence[int]]] | None = None
    vectors: Vectors | None = None
    seed: int = 17


def subtoken_mean(matrix_VD: Tensor, subtokens: Sequence[Sequence[int]]) -> Tensor:
    """The mean of each piece's sub-token rows (FVT, arXiv 2402.09977), shape (pieces, D), float32.

    The sub-tokens must spell the piece in mid-text: encoding the bare piece with a SentencePiece
    tokenizer would put the dummy prefix's row into every mean.

    Args:
        matrix_VD: the base model's matrix, shape (V, D).
        subtokens: for each new piece the base ids that spell it.
    """
    total = _weighted_sum(matrix_VD, subtokens, lambda count: [1.0] * count)
    lengths = torch.tensor([max(len(ids), 1) for ids in subtokens], device=total.device)
    return total.div_(lengths[:, None])


def _weighted_sum(
    matrix_VD: Tensor, ids: Sequence[Sequence[int]], weights: Callable[[int], list[float]]
) -> Tensor:
    """For each list of ids the sum of its rows times `weights(its length)`, block by block; an
    empty list gives zeros.
    """
    found = torch.empty(len(ids), matrix_VD.shape[1], device=matrix_VD.device)
    for first in range(0, len(ids), BLOCK_ROWS):
        block = ids[first : first + BLOCK_ROWS]
        flat = torch.tensor([token for each in block for token in each], dtype=torch.long)
        used, places = flat.unique(return_inverse=True)
        lengths = torch.tensor([len(each) for each in block])
        share = torch.tensor([w for each in block for w in weights(len(each))])
        found[first : first + len(block)] = nn.functional.embedding_bag(
            places.to(matrix_VD.device),
            matrix_VD[used.to(matrix_VD.device)].float(),
            (lengths.cumsum(0) - lengths).to(matrix_VD.device),
            mode="sum",
            per_sample_weights=share.to(matrix_VD.device),
        )
    return found


def _mean(matrix_VD: Tensor, known: Knowledge, output: bool) -> Tensor:
    """Every piece the mean of all base rows."""
    return _moments(matrix_VD)[0].expand(len(known.subtokens), -1).clone()


def _random(matrix_VD: Tensor, known: Knowledge, output: bool) -> Tensor:
    """Normal draws with each dimension's mean and deviation over the base rows."""
    mean, deviation = _moments(matrix_VD)
    generator = torch.Generator().manual_seed(known.seed * 2 + output)
    noise = torch.randn(len(known.subtokens), matrix_VD.shape[1], generator=generator)
    return noise.to(matrix_VD.device).mul_(deviation).add_(mean)


def _moments(matrix_VD: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column, without a float32 copy of the whole."""
    total = torch.zeros(matrix_VD.shape[1], dtype=torch.float64, device=matrix_VD.device)
    squares = torch.zeros_like(total)
    for block in matrix_VD.split(BLOCK_ROWS):
        rows = block.float()
        total += rows.sum(0, dtype=torch.float64)
        squares += rows.square().sum(0, dtype=torch.float64)
    mean = total / len(matrix_VD)
    deviation = (squares / len(matrix_VD) - mean.square()).clamp(min=0).sqrt()
    return mean.float(), deviation.float()


def _zeros(matrix_VD: Tensor, known: Knowledge, output: bool) -> Tensor:
    """All zeros: the referee that every method must beat."""
    return torch.zeros(len(known.subtokens), matrix_VD.shape[1], device=matrix_VD.device)


def _plain(matrix_VD: Tensor, known: Knowledge, output: bool) -> Tensor:
    return subtoken_mean(matrix_VD, known.subtokens)


def _weighted(matrix_VD: Tensor, known: Knowledge, output: bool) -> Tensor:
    """Sub-tokens weighted by position, each a tenth of its neighbour: the last one most in the
    input matrix, whose state the next token is read from; the first one most in the output matrix,
    which is what the model would have to say next.
    """

    def weights(count: int) -> list[float]:
        falling = [TILT**place for place in range(count)]
        total = sum(falling)
        return [w / total for w in (falling if output else reversed(falling))]

    return _weighted_sum(matrix_VD, known.subtokens, weights)


def _align(matrix_VD: Tensor, known: Knowledge, output: bool) -> Tensor:
    """The mean of the rows of the piece's translations; without one, of its sub-tokens.

    A translation of several tokens counts in the output matrix with the first one alone, because
    that is what the model would say next.
    """
    if known.translations is None:
        raise BadInput("align: needs a bilingual word list; give one (--words, `graft.words`)")
    spelt = [
        [t for words in senses for t in (words[:1] if output else words)] or list(subtokens)
        for senses, subtokens in zip(known.translations, known.subtokens, strict=True)
    ]
    return subtoken_mean(matrix_VD, spelt)


def _vectors(known: Knowledge, name: str) -> Vectors:
    if known.vectors is None:
        raise BadInput(
            f"{name}: needs text in the new language (--text) or a donor model (--donor)"
        )
    return known.vectors


def _focus(matrix_VD: Tensor, known: Knowledge, output: bool) -> Tensor:
    """Base rows weighted by how similar their tokens are to the piece in another space (after
    FOCUS, arXiv 2305.14481): sparsemax of the cosines to the nearest NEIGHBOURS base tokens.

    A piece without a vector gets the mean of its sub-tokens.
    """
    space = _vectors(known, "focus")
    anchors = nn.functional.normalize(space.anchors, dim=1)
    found = subtoken_mean(matrix_VD, known.subtokens)
    for at in space.where.split(BLOCK_ROWS):
        cosines = nn.functional.normalize(space.pieces[at], dim=1) @ anchors.T
        near, which = cosines.topk(min(NEIGHBOURS, len(anchors)), dim=1)
        found[at] = _combined(matrix_VD, space.anchor_ids[which], sparsemax(near))
    return found


def sparsemax(scores_NK: Tensor) -> Tensor:
    """The point of the simplex nearest to each row (arXiv 1602.02068, algorithm 1)."""
    sorted_NK = scores_NK.sort(dim=1, descending=True).values
    excess = sorted_NK.cumsum(1) - 1
    rank = torch.arange(1, scores_NK.shape[1] + 1, device=scores_NK.device)
    support = (rank * sorted_NK > excess).sum(1, keepdim=True)
    threshold = excess.gather(1, support - 1) / support
    return (scores_NK - threshold).clamp(min=0)


def _combined(matrix_VD: Tensor, ids_NK: Tensor, weights_NK: Tensor) -> Tensor:
    rows_NKD = matrix_VD[ids_NK.to(matrix_VD.device)].float()
    return torch.einsum("nk,nkd->nd", weights_NK.to(matrix_VD.device), rows_NKD)


def _omp(matrix_VD: Tensor, known: Knowledge, output: bool) -> Tensor:
    """The sparse combination of base tokens that gives the piece in another space, taken with the
    base's own rows (arXiv 2506.06607).

    A piece without a vector gets the mean of its sub-tokens.
    """
    space = _vectors(known, "omp")
    found = subtoken_mean(matrix_VD, known.subtokens)
    for at in space.where.split(BLOCK_ROWS):
        chosen, weights = matching_pursuit(space.anchors, space.pieces[at], ATOMS)
        found[at] = _combined(matrix_VD, space.anchor_ids[chosen], weights)
    return found


def matching_pursuit(atoms_AE: Tensor, wanted_NE: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Orthogonal matching pursuit of every row at once: `count` atoms, one more each round, the
    weights solved anew each time by least squares.

    Args:
        atoms_AE: the dictionary, shape (A, E); `count` is cut to what A and E allow.

    Returns:
        the atoms' numbers and weights, both of shape (N, count).
    """
    count = min(count, *atoms_AE.shape)
    unit = nn.functional.normalize(atoms_AE, dim=1)
    residual = wanted_NE
    chosen = torch.empty(len(wanted_NE), 0, dtype=torch.long, device=wanted_NE.device)
    weights = wanted_NE.new_empty(len(wanted_NE), 0)
    ridge = 1e-6 * float(atoms_AE.square().sum(1).mean())
    for _ in range(count):
        likeness = (residual @ unit.T).abs().scatter_(1, chosen, -1.0)
        chosen = torch.cat([chosen, likeness.argmax(1, keepdim=True)], dim=1)
        picked_NKE = atoms_AE[chosen]
        gram = picked_NKE @ picked_NKE.mT + ridge * torch.eye(
            chosen.shape[1], device=wanted_NE.device
        )
        target = (picked_NKE @ wanted_NE[..., None])[..., 0]
        weights = torch.linalg.solve(gram, target)
        residual = wanted_NE - torch.einsum("nk,nke->ne", weights, picked_NKE)
    return chosen, weights


Method = Callable[[Tensor, Knowledge, bool], Tensor]
METHODS: dict[str, Method] = {
    "subtoken-mean": _plain,
    "mean": _mean,
    "random": _random,
    "zeros": _zeros,
    "weighted": _weighted,
    "align": _align,
    "focus": _focus,
    "omp": _omp,
}


def start_rows(method: str, matrix_VD: Tensor, known: Knowledge, *, output: bool) -> Tensor:
    """The rows, shape (pieces, D), float32, that `method` gives the new pieces of one matrix.

    Args:
        method: a key of METHODS.
        matrix_VD: the base's rows of that matrix.
        output: whether it is the output matrix.

    Raises:
        BadInput: no such method, or what it needs is not known.
    """
    if method not in METHODS:
        raise BadInput(f"init {method!r}: no such method; there are {', '.join(METHODS)}")
    if not known.subtokens:
        return matrix_VD.new_empty((0, matrix_VD.shape[1]), dtype=torch.float32)
    return METHODS[method](matrix_VD, known, output)
