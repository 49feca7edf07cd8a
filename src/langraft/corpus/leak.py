"""Training documents that nearly equal a held-out one: other editions, revised laws, mirrors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.lines import Lines, long_lines
from langraft.corpus.kernels.texts import Texts

SHORTEST_LINE = 10  # characters; shorter lines (headings, numbers) are shared by chance
LARGEST_SHARE = 0.5  # of the characters in the long lines of the shorter of the two texts


class HeldOutLines:
    """The long lines of all held-out texts, to compare training documents with."""

    def __init__(self, texts: Texts) -> None:
        lines = _distinct(long_lines(texts, SHORTEST_LINE))
        self._sizes = _sums(lines.texts, lines.sizes, len(texts))
        order = np.argsort(lines.hashes, kind="stable")
        self._hashes, self._holders = lines.hashes[order], lines.texts[order]

    def largest_shares(self, texts: Texts) -> npt.NDArray[np.float64]:
        """How much of the shorter text the best matching held-out text shares with each of `texts`,
        0 to 1.

        Shared are the characters of the distinct long lines that both have.
        """
        lines = _distinct(self._of_suspects(long_lines(texts, SHORTEST_LINE), len(texts)))
        sizes = _sums(lines.texts, lines.sizes, len(texts))
        first = np.searchsorted(self._hashes, lines.hashes, "left")
        many = np.searchsorted(self._hashes, lines.hashes, "right") - first
        line = np.repeat(np.arange(len(many)), many)
        holder = self._holders[
            np.repeat(first - np.cumsum(many) + many, many) + np.arange(len(line))
        ]
        pairs = lines.texts[line].astype(np.int64) * max(1, len(self._sizes)) + holder
        met, place = np.unique(pairs, return_inverse=True)
        shared = _sums(place, lines.sizes[line], len(met))
        text, held = met // max(1, len(self._sizes)), met % max(1, len(self._sizes))
        shares = np.zeros(len(texts))
        np.maximum.at(shares, text, shared / np.minimum(sizes[text], self._sizes[held]))
        return shares

    def _of_suspects(self, lines: Lines, many: int) -> Lines:
        """The lines of those of `many` texts that share one at all: few, as a rule."""
        place = np.searchsorted(self._hashes, lines.hashes)
        known = np.append(self._hashes, np.uint64(0))[place] == lines.hashes
        suspect = np.zeros(many, bool)
        suspect[lines.texts[known & (place < len(self._hashes))]] = True
        return lines.take(suspect[lines.texts])


def _distinct(lines: Lines) -> Lines:
    """Each text's lines once."""
    order = np.lexsort((lines.hashes, lines.texts))
    texts, hashes = lines.texts[order], lines.hashes[order]
    new = np.ones(len(order), bool)
    new[1:] = (texts[1:] != texts[:-1]) | (hashes[1:] != hashes[:-1])
    return lines.take(order[new])


def _sums(
    groups: npt.NDArray[np.int32], amounts: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.int64]:
    return np.bincount(groups, amounts, size).astype(np.int64)
