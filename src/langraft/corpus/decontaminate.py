"""Benchmark items in training text: found by n-grams of characters (CJK) or words (elsewhere),
listed, and removed or cut out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from langraft.core.errors import BadInput
from langraft.corpus.fold import batches, code_points, fold_table
from langraft.corpus.gram_kernel import NOTHING, hash_table, scan

NGRAM = 13  # tokens; Brown et al. 2020 (GPT-3, arXiv 2005.14165), appendix C: 13-grams of words
SHORTEST = 8  # tokens: a shorter item says nothing about where a text comes from
# Texts of items: a gram in more of them is a phrase of exam papers and statutes, not an item's own
# (the same paper filters phrases that collide with more than 10 documents).
COMMON = 20
# A law or a poem that an item quotes is no leak of the item; a page that holds half of it is.
MIN_SHARE = 0.5

Gram = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


class Item(NamedTuple):
    """One text of a benchmark: the suite it belongs to, its id there, and the text to look for.

    An item with several texts (a passage, its question; a question without and with its choices)
    is given several times.
    """

    suite: str
    id: str
    text: str


class Hit(NamedTuple):
    """One item found in one document.

    Attributes:
        suite: the suite's name.
        item: the item's id in the suite.
        spans: where the document matches: first character and one past the last, in order, apart.
        grams: how many of the document's n-grams belong to the item.
        share: how many of the item's distinct n-grams the document holds, 0 to 1; of an item with
            several texts, that of the one it holds most of.
    """

    suite: str
    item: str
    spans: tuple[tuple[int, int], ...]
    grams: int
    share: float


class Decontaminator:
    """An index of benchmark items, to look texts up in.

    A token is a character of a script without spaces or a word of any other; case, width,
    punctuation and white space do not count. A document holds an item when they share a run of
    `ngram` tokens. An item shorter than that (but of `SHORTEST` tokens at least) is found where a
    whole line of the document equals it.
    """

    def __init__(
        self, items: Iterable[Item], ngram: int = NGRAM, min_share: float = MIN_SHARE
    ) -> None:
        """Index `items`.

        Args:
            items: what to look for.
            ngram: tokens that must match in a row.
            min_share: the share of the distinct n-grams of one of an item's texts that a document
                must hold before the item counts as found; 0: one n-gram is enough.

        Raises:
            BadInput: `ngram` is below `SHORTEST`, or `min_share` is not a share.
        """
        if ngram < SHORTEST:
            raise BadInput(
                f"corpus.decontaminate.ngram: {ngram} tokens are shared by chance; "
                f"take {SHORTEST} or more ({NGRAM} is usual)"
            )
        if not 0 <= min_share <= 1:
            raise BadInput(f"corpus.decontaminate.min_share: {min_share} is not between 0 and 1")
        self.ngram = ngram
        self.min_share = min_share
        self._names: list[tuple[str, str]] = []
        grams, owners = self._grams_of(items)
        self._grams_of_text = np.bincount(owners, minlength=len(self._names))
        keys, first = np.unique(grams, return_index=True)
        self._first = np.append(first, len(grams))
        self._owners = owners
        self._index = hash_table(keys)
        order = sorted(range(len(self._names)), key=lambda text: (self._names[text], text))
        self._rank = np.empty(len(order), np.int64)
        self._rank[order] = np.arange(len(order))

    def __len__(self) -> int:
        """How many items can be found: those with a gram of their own."""
        return len({self._names[text] for text in np.flatnonzero(self._grams_of_text).tolist()})

    def _grams_of(self, items: Iterable[Item]) -> tuple[Gram, Places]:
        """Every distinct (gram, text) pair as two arrays, sorted by gram and text, without the
        grams that are common to many texts.
        """
        texts: list[str] = []
        for item in items:
            self._names.append((item.suite, item.id))
            texts.append(item.text.replace("\n", " "))
        codes, offsets = code_points(texts)
        found = scan(codes, offsets, fold_table(), self.ngram, SHORTEST, NOTHING)
        grams = found[:, 1].view(np.uint64)
        of_text = found[:, 0]
        order = np.lexsort((of_text, grams))
        grams, of_text = grams[order], of_text[order]
        new = np.ones(len(grams), bool)
        new[1:] = (grams[1:] != grams[:-1]) | (of_text[1:] != of_text[:-1])
        grams, of_text = grams[new], of_text[new]
        _, number, holders = np.unique(grams, return_inverse=True, return_counts=True)
        rare = holders[number] <= COMMON
        return grams[rare], of_text[rare]

    def hits(self, texts: Sequence[str]) -> list[list[Hit]]:
        """The items that each text holds, by suite and item."""
        found: list[list[Hit]] = [[] for _ in texts]
        for start, batch in batches(texts):
            self._search(batch, found, start)
        return found

    def _search(self, texts: Sequence[str], found: list[list[Hit]], base: int) -> None:
        codes, offsets = code_points(texts)
        matches = scan(codes, offsets, fold_table(), self.ngram, SHORTEST, self._index)
        for document, hit in self._summed(matches):
            mine = found[base + document]
            if mine and mine[-1][:2] == hit[:2]:
                mine[-1] = _merged(mine[-1], hit)
            else:
                mine.append(hit)

    def _summed(self, matches: Places) -> Iterator[tuple[int, Hit]]:
        """Document and hit, by document, suite and item, from rows of document, gram, start, stop.

        One item has a hit for each of its texts that is found.
        """
        if not len(matches):
            return
        many = self._first[matches[:, 1] + 1] - self._first[matches[:, 1]]
        row = np.repeat(np.arange(len(matches)), many)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(many) - many, many)
        text = self._owners[self._first[matches[row, 1]] + nth]
        order = np.lexsort((row, self._rank[text], matches[row, 0]))
        row, text = row[order], text[order]
        documents, grams, starts, stops = matches[row].T
        new = _differs(documents) | _differs(text)
        group = np.cumsum(new) - 1
        first = np.append(np.flatnonzero(new), len(row))
        held = _distinct(group, grams)
        share = held / self._grams_of_text[text[first[:-1]]]
        apart = new.copy()
        apart[1:] |= starts[1:] > stops[:-1]
        for one in np.flatnonzero(share >= self.min_share).tolist():
            begin, end = int(first[one]), int(first[one + 1])
            opens = begin + np.flatnonzero(apart[begin:end])
            closes = np.append(opens[1:], end) - 1
            spans = tuple(zip(starts[opens].tolist(), stops[closes].tolist(), strict=True))
            suite, item = self._names[int(text[begin])]
            yield int(documents[begin]), Hit(suite, item, spans, end - begin, float(share[one]))


def _differs(values: Places) -> npt.NDArray[np.bool_]:
    """Whether each value is another than the one before; true for the first."""
    return np.append(True, values[1:] != values[:-1])


def _distinct(group: Places, values: Places) -> Places:
    """How many distinct values each group has; groups are numbered from 0 in order."""
    order = np.lexsort((values, group))
    new = _differs(values[order]) | _differs(group[order])
    return np.bincount(group[order][new])


def _merged(one: Hit, other: Hit) -> Hit:
    """Two texts of one item in the same document as one hit."""
    spans: list[tuple[int, int]] = []
    for start, stop in sorted([*one.spans, *other.spans]):
        if spans and start <= spans[-1][1]:
            start, stop = spans[-1][0], max(spans.pop()[1], stop)
        spans.append((start, stop))
    grams, share = max(one.grams, other.grams), max(one.share, other.share)
    return Hit(one.suite, one.item, tuple(spans), grams, share)


_SENTENCE_END = re.compile(r"[。！？!?；;\n]+|\.(?=\s)")


def cut(text: str, hits: Iterable[Hit]) -> str:
    """`text` without the sentences that the hits touch.

    Sentences end at `。！？!?；;`, a full stop before white space, or a line end.
    """
    spans = sorted(span for hit in hits for span in hit.spans)
    ends = [match.end() for match in _SENTENCE_END.finditer(text)] if spans else []
    if not ends or ends[-1] < len(text):
        ends.append(len(text))
    kept, begin, span = [], 0, 0
    for end in ends:
        while span < len(spans) and spans[span][1] <= begin:
            span += 1
        if span == len(spans) or spans[span][0] >= end:
            kept.append(text[begin:end])
        begin = end
    return "".join(kept)
