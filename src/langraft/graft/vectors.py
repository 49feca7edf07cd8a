"""Base tokens and new pieces as vectors of one other space, which tells what resembles what:
counted from text, or the rows of a donor model that has both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from langraft.core.errors import BadInput
from langraft.tokenizer.encoder import Encoder

REACH = 5
DIMENSIONS = 64
SEEN_AT_LEAST = 5
READ_AT_MOST = 2_000_000


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Two sets of vectors in one space of E dimensions.

    Attributes:
        anchor_ids: base ids that have a vector, shape (A,).
        anchors: their vectors, shape (A, E).
        where: which pieces have one, shape (P,), numbered from 0.
        pieces: a vector for every piece, zeros where there is none, shape (pieces, E).
    """

    anchor_ids: Tensor
    anchors: Tensor
    where: Tensor
    pieces: Tensor


def counted_vectors(documents: Iterable[Sequence[int]], base_size: int, pieces: int) -> Vectors:
    """Vectors from what stands near what: positive pointwise mutual information within REACH
    tokens, cut to DIMENSIONS by a truncated singular value decomposition (Levy and Goldberg, 2014).

    Args:
        documents: texts in ids of the extended tokenizer; READ_AT_MOST tokens are read.
        base_size: ids below are the base's.
        pieces: new pieces, ids from `base_size` on.

    Raises:
        BadInput: fewer than two base tokens occur often enough to be compared with.
    """
    size = base_size + pieces
    flat = _laid_out(documents, size)
    seen = np.bincount(flat, minlength=size + 1)[:size]
    kept = np.flatnonzero(seen >= SEEN_AT_LEAST)
    anchors = kept[kept < base_size]
    if len(anchors) < 2:
        raise BadInput(
            f"only {len(anchors)} base tokens occur {SEEN_AT_LEAST} times in the text read with "
            "the new pieces, too few to compare pieces with; give more text"
        )
    vectors = _reduced(*_information(flat, kept, size), len(kept))
    new = torch.from_numpy(kept[kept >= base_size] - base_size)
    table = torch.zeros(pieces, vectors.shape[1])
    table[new] = vectors[len(anchors) :]
    return Vectors(torch.from_numpy(anchors), vectors[: len(anchors)], new, table)


def _laid_out(documents: Iterable[Sequence[int]], gap: int) -> np.ndarray:
    """All documents in one array, REACH times `gap` after each so that none sees the next."""
    parts, read = [], 0
    for ids in documents:
        parts += [np.asarray(ids, dtype=np.int64), np.full(REACH, gap)]
        read += len(ids)
        if read >= READ_AT_MOST:
            break
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def _information(flat: np.ndarray, kept: np.ndarray, gap: int) -> tuple[np.ndarray, np.ndarray]:
    """Index pairs (2, M) among `kept` and their positive pointwise mutual information (M,)."""
    number = np.full(gap + 1, -1)
    number[kept] = np.arange(len(kept))
    tokens, width = number[flat], len(kept)
    keys = []
    for distance in range(1, REACH + 1):
        left, right = tokens[:-distance], tokens[distance:]
        both = (left >= 0) & (right >= 0)
        keys += [left[both] * width + right[both], right[both] * width + left[both]]
    pairs, counts = np.unique(np.concatenate(keys), return_counts=True)
    rows, columns = pairs // width, pairs % width
    totals = np.bincount(rows, weights=counts, minlength=width)
    information = np.log(counts * totals.sum() / (totals[rows] * totals[columns]))
    positive = information > 0
    return np.stack([rows[positive], columns[positive]]), information[positive]


def _reduced(pairs: np.ndarray, values: np.ndarray, size: int) -> Tensor:
    """Directions of a sparse symmetric matrix's rows in at most DIMENSIONS dimensions: U sqrt(S)
    with rows of length one. Lengths tell how often a token occurs, and combining rare anchors into
    a frequent piece would take enormous weights.
    """
    matrix = torch.sparse_coo_tensor(
        torch.from_numpy(pairs),
        torch.from_numpy(values).float(),
        (size, size),
        check_invariants=False,
    ).coalesce()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, strength, _ = torch.svd_lowrank(matrix, q=min(DIMENSIONS, size), niter=4)
    return torch.nn.functional.normalize(left * strength.sqrt(), dim=1)


def donor_vectors(donor: Encoder, matrix_VE: Tensor, base: Encoder, extended: Encoder) -> Vectors:
    """The rows of another model that already knows the pieces.

    Tokens are the same when they spell the same bytes; special tokens are left out.

    Args:
        donor: that model's tokenizer.
        matrix_VE: its input matrix.

    Raises:
        BadInput: the donor shares fewer than two tokens with the base.
    """
    spelt = {data: index for index, data in enumerate(donor.bytes_by_id) if data}
    for index in donor.added:
        spelt.pop(donor.bytes_by_id[index], None)
    ours = {
        index: spelt[data]
        for index, data in enumerate(extended.bytes_by_id)
        if data in spelt and index not in extended.added
    }
    anchors = [index for index in ours if index < base.size]
    known = [index for index in ours if index >= base.size]
    if len(anchors) < 2:
        raise BadInput(f"{donor.path}: this donor shares {len(anchors)} tokens with {base.path}")
    table = torch.zeros(extended.size - base.size, matrix_VE.shape[1])
    where = torch.tensor([index - base.size for index in known], dtype=torch.long)
    table[where] = matrix_VE[[ours[index] for index in known]].float()
    rows = matrix_VE[[ours[index] for index in anchors]].float()
    return Vectors(torch.tensor(anchors), rows, where, table)
