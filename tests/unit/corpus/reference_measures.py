"""The rules' measurements in plain Python: what the compiled ones are compared with."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import regex

from langraft.corpus.kernels.markup import ENTITIES, TAGS
from langraft.corpus.kernels.unicode import TERMINAL_CHARACTERS, UNSPACED
from langraft.corpus.scripts import script_share

_TOKEN = regex.compile(rf"(?V1)[{UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]]+")
_VISIBLE = regex.compile(r"[^\s]+")
_DIGITS = regex.compile(r"\p{Nd}+")
_WORDING = regex.compile(r"[\p{L}\p{M}\p{N}\s]+")
_GARBAGE = regex.compile(r"[\uFFFD\p{Co}\p{Cn}]+")
_PUNCTUATION = regex.compile(r"\p{P}+")
_RUN = regex.compile(r"(\p{L})\1{4,}")
_MARKUP = regex.compile(
    rf"</?(?:{'|'.join(TAGS)})(?=[>/ \t\n])[^<>]*>"
    rf"|&(?:{'|'.join(ENTITIES)}|#[0-9a-z]{{1,7}});",
    regex.IGNORECASE | regex.ASCII,
)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: spreads token numbers
SHORT_LINE = 5  # tokens


class Measured:
    """One text, measured on demand; every share lies between 0 and 1."""

    def __init__(self, text: str, scripts: Sequence[str] = ()) -> None:
        self.text = text
        self.scripts = scripts

    @functools.cached_property
    def lines(self) -> list[str]:
        """The lines that hold anything, without the white space around them."""
        return [line for raw in self.text.split("\n") if (line := raw.strip())]

    @functools.cached_property
    def line_tokens(self) -> list[list[str]]:
        """Each line's tokens: characters of Han, kana, Thai and the like; other words; numbers."""
        return [_TOKEN.findall(line) for line in self.lines]

    @functools.cached_property
    def token_list(self) -> list[str]:
        """The text's tokens in order."""
        return list(itertools.chain.from_iterable(self.line_tokens))

    @functools.cached_property
    def visible(self) -> int:
        """Characters that are not white space."""
        return _count(_VISIBLE, self.text)

    def tokens(self) -> float:
        """How many tokens the text has."""
        return len(self.token_list)

    def script_share(self) -> float:
        """The share of the letters that belong to the table's scripts."""
        return script_share(self.text, self.scripts)

    def digit_share(self) -> float:
        """The share of the visible characters that are decimal digits."""
        return _count(_DIGITS, self.text) / max(1, self.visible)

    def symbol_share(self) -> float:
        """The share of the visible characters that are punctuation or symbols."""
        wording = _count(_WORDING, self.text) - (len(self.text) - self.visible)
        return 1 - wording / self.visible if self.visible else 0.0

    def punctuation_share(self) -> float:
        """The share of the visible characters that are punctuation."""
        return _count(_PUNCTUATION, self.text) / max(1, self.visible)

    def punctuated_line_share(self) -> float:
        """The share of the lines that end like a sentence."""
        ended = sum(line[-1] in TERMINAL_CHARACTERS for line in self.lines)
        return ended / max(1, len(self.lines))

    def line_ends_per_token(self) -> float:
        """Line ends over tokens."""
        return self.text.count("\n") / max(1, len(self.token_list))

    def html_share(self) -> float:
        """The share of the characters in known tags and entities."""
        return _count(_MARKUP, self.text) / max(1, len(self.text))

    def run_share(self) -> float:
        """The share of the visible characters in runs of five or more of one letter."""
        return sum(len(m[0]) for m in _RUN.finditer(self.text)) / max(1, self.visible)

    def garbage_share(self) -> float:
        """The share of the visible characters that are U+FFFD, private-use or unassigned.

        A wrong decoding leaves such characters.
        """
        return _count(_GARBAGE, self.text) / max(1, self.visible)

    def duplicate_line_share(self) -> float:
        """The share of the lines that repeat an earlier line."""
        return 1 - len(set(self.lines)) / len(self.lines) if self.lines else 0.0

    def duplicate_line_character_share(self) -> float:
        """The share of the lines' characters that stand in lines that repeat an earlier line."""
        characters = sum(map(len, self.lines))
        return 1 - sum(map(len, set(self.lines))) / characters if characters else 0.0

    def short_line_share(self) -> float:
        """The share of the tokens in lines of fewer than five, as in menus and table cells."""
        short = sum(n for tokens in self.line_tokens if (n := len(tokens)) < SHORT_LINE)
        return short / max(1, len(self.token_list))

    @functools.cached_property
    def _numbered(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Each token's number (equal tokens, equal numbers) and its length in characters."""
        numbers: dict[str, int] = {}
        coded = [numbers.setdefault(token, len(numbers)) for token in self.token_list]
        lengths = np.fromiter(map(len, self.token_list), np.int64, len(self.token_list))
        return np.array(coded, np.uint64), lengths

    def top_ngram_share(self, n: int) -> float:
        """The share of the tokens' characters that the most frequent sequence of `n` tokens takes.

        A sequence that comes only once does not count; of equally frequent ones the longest does.
        Rae et al. 2021 (Gopher, arXiv 2112.11446), table A1.
        """
        coded, lengths = self._numbered
        if len(coded) < n:
            return 0.0
        _, first, count = np.unique(_ngrams(coded, n), return_index=True, return_counts=True)
        most = int(count.max())
        longest = max(int(lengths[at : at + n].sum()) for at in first[count == most])
        return min(1.0, most * longest / int(lengths.sum())) if most > 1 else 0.0

    def repeated_ngram_share(self, n: int) -> float:
        """The share of the tokens' characters in sequences of `n` tokens that came before.

        A character is counted once, however many repeated sequences it stands in.
        Rae et al. 2021 (Gopher, arXiv 2112.11446), table A1.
        """
        coded, lengths = self._numbered
        if len(coded) < n:
            return 0.0
        keys = _ngrams(coded, n)
        again = np.ones(len(keys), bool)
        again[np.unique(keys, return_index=True)[1]] = False
        covered = np.zeros(len(coded) + 1, np.int64)
        covered[: len(keys)] += again
        covered[n : n + len(keys)] -= again
        return float(lengths[np.cumsum(covered[:-1]) > 0].sum() / lengths.sum())


def _count(pattern: regex.Pattern[str], text: str) -> int:
    return sum(map(len, pattern.findall(text)))


def _ngrams(coded: npt.NDArray[np.uint64], n: int) -> npt.NDArray[np.uint64]:
    """A 64-bit key for every run of `n` tokens: a polynomial in the token numbers modulo 2**64."""
    size = len(coded) - n + 1
    keys = coded[:size] + np.uint64(1)
    for offset in range(1, n):
        keys = keys * _MULTIPLIER + coded[offset : offset + size] + np.uint64(1)
    return keys
