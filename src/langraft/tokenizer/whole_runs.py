"""Base ids of many runs at once, without the base's own program: its merges, applied by our loop.

It serves runs that the base reads as one word: no part of its program but the merges has a say
in them. Those are nearly all runs of a script written without spaces, and the longest words that
there are, with which the general program is slow.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from langraft.tokenizer.applying import Ranks, apply_merges, rank_merges
from langraft.tokenizer.encoder import BYTE_LEVEL, Encoder
from langraft.tokenizer.merging import INSIDE
from langraft.tokenizer.sequences import Sequences

Codes = npt.NDArray[np.int32]
Ends = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
SPACE = ord(" ")
END = -1  # behind each run; merges join it to nothing


class WholeRuns:
    """Encodes runs of a byte-level base that its pre-tokenizer leaves whole.

    Attributes:
        base: the tokenizer.
        letter: an ordinary letter of the runs' script.
    """

    def __init__(self, base: Encoder, letter: str) -> None:
        self.base = base
        self.letter = letter

    def among(self, runs: Sequences) -> Flags:
        """Which runs of code points are whole words to the base, shape (runs.size,)."""
        if runs.size == 0 or not self._by_merges_alone():
            return np.zeros(runs.size, np.bool_)
        codes = runs.values[: runs.used]
        starts = np.concatenate([np.zeros(1, np.int64), runs.ends[: runs.size - 1]])
        known = np.unique(codes)
        stays = np.zeros(int(known[-1]) + 1, np.bool_)
        stays[known] = [self._stays(chr(code)) for code in known.tolist()]
        parted = ~stays[codes]
        if self._stays_together(f" {self.letter}{self.letter}"):
            parted[starts] &= codes[starts] != SPACE
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(parted)])
        ends = runs.ends[: runs.size]
        whole: Flags = before[ends] == before[starts]
        return whole

    def encode(self, codes: Codes, ends: Ends) -> Codes:
        """The base's ids of runs that `among` has found whole, END behind each.

        Args:
            codes: code points of all runs, shape (n,).
            ends: where each of them ends, shape (runs,).
        """
        size = 1 + (codes >= 0x80) + (codes >= 0x800) + (codes >= 0x10000)
        written = np.frombuffer(
            codes.astype("<u4").tobytes().decode("utf-32-le").encode(), np.uint8
        )
        places = np.cumsum(size)[ends - 1]
        text = np.insert(self._of_byte[written], places, END)
        apply_merges(text, places + np.arange(1, len(places) + 1), self._ranks)
        kept: Codes = text[text != INSIDE]
        return kept

    def _by_merges_alone(self) -> bool:
        model = self.base.definition["model"]
        added = any(self._kin(text) for text in self.base.added.values())
        return self.base.family == BYTE_LEVEL and not model.get("ignore_merges") and not added

    def _kin(self, added: str) -> bool:
        """Whether an added token could stand inside a run: it has no character that parts."""
        return all(self._stays(character) for character in added.strip())

    @functools.cache  # noqa: B019 - lives as long as one corpus is read
    def _stays(self, character: str) -> bool:
        """Whether the base keeps `character` with letters on both sides, written as it is."""
        spelled = all(self._of_byte[byte] >= 0 for byte in character.encode(errors="replace"))
        return spelled and self._stays_together(f"{self.letter}{character}{self.letter}")

    def _stays_together(self, text: str) -> bool:
        engine = self.base.tokenizer
        changed = engine.normalizer is not None and engine.normalizer.normalize_str(text) != text
        splitter = engine.pre_tokenizer
        return not changed and splitter is not None and len(splitter.pre_tokenize_str(text)) == 1

    @functools.cached_property
    def _of_byte(self) -> Codes:
        """The id of each byte, shape (256,); -1 where the vocabulary lacks it."""
        found = np.full(256, -1, np.int32)
        for index, data in enumerate(self.base.bytes_by_id):
            if len(data) == 1 and index not in self.base.added:
                found[data[0]] = index
        return found

    @functools.cached_property
    def _ranks(self) -> Ranks:
        model = self.base.definition["model"]
        vocabulary = model["vocab"]
        merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        pairs = np.array([[vocabulary[a], vocabulary[b]] for a, b in merges], np.int32)
        products = np.array([vocabulary[a + b] for a, b in merges], np.int32)
        return rank_merges(pairs.reshape(-1, 2), products, np.arange(len(merges), dtype=np.int32))
