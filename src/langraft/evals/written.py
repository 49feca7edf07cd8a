"""Scores of written answers: exact match, F1, ROUGE, likeness of code, and the language they are
written in.
"""

from __future__ import annotations

import difflib
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from langraft.corpus.scripts import script_share

Segment = Callable[[str], list[str]]
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|[^\W_]+")
_FULL_WIDTH = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～、〃"
    "《》「」『』【】〔〕〖〗〝〞〟–—‘’“”„‟…‧·"
)
_PUNCTUATION = str.maketrans("", "", string.punctuation + _FULL_WIDTH)


def normal(text: str) -> str:
    """Lower case without punctuation, English articles and doubled blanks (SQuAD's rule, with the
    full-width marks of Chinese).
    """
    text = unicodedata.normalize("NFKC", text).lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


def words(text: str) -> list[str]:
    """The words between blanks, normalised."""
    return normal(text).split()


def characters(text: str) -> list[str]:
    """Chinese character by character, other scripts word by word: the segmentation that needs no
    dictionary.
    """
    return _HAN.findall(normal(text))


def exact_match(text: str, targets: Sequence[str]) -> float:
    """1 when the text equals a target after `normal`, else 0."""
    return float(any(normal(text) == normal(target) for target in targets))


def f1(text: str, targets: Sequence[str], segment: Segment) -> float:
    """The best harmonic mean of precision and recall over the segments of any target."""
    return max((_f1(segment(text), segment(target)) for target in targets), default=0.0)


def _f1(found: Sequence[str], right: Sequence[str]) -> float:
    shared = sum((Counter(found) & Counter(right)).values())
    if not shared:
        return float(not found and not right)
    precision, recall = shared / len(found), shared / len(right)
    return 2 * precision * recall / (precision + recall)


def rouge_n(text: str, targets: Sequence[str], segment: Segment, size: int) -> float:
    """ROUGE-N: the F1 of runs of `size` segments, the best target's (Lin, 2004)."""
    return max(
        (_f1(_runs(segment(text), size), _runs(segment(t), size)) for t in targets), default=0
    )


def _runs(segments: Sequence[str], size: int) -> list[str]:
    return ["\0".join(segments[at : at + size]) for at in range(len(segments) - size + 1)]


def rouge_l(text: str, targets: Sequence[str], segment: Segment) -> float:
    """ROUGE-L: the F1 of the longest common subsequence of segments, the best target's."""
    best = 0.0
    for target in targets:
        found, right = segment(text), segment(target)
        shared = _common_subsequence(found, right)
        if shared:
            best = max(best, 2 * shared / (len(found) + len(right)))
    return best


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    row = [0] * (len(second) + 1)
    for item in first:
        before = 0
        for at, other in enumerate(second, 1):
            before, row[at] = row[at], before + 1 if item == other else max(row[at], row[at - 1])
    return row[-1]


def code_likeness(text: str, targets: Sequence[str]) -> float:
    """The first line of code against each target: 1 minus the edits that make one the other, as a
    share of both lengths (difflib's ratio).
    """
    lines = (line.strip() for line in text.lstrip("\n").split("\n"))
    line = next((ln for ln in lines if ln and not ln.startswith(("#", "//", "`"))), "")
    return max(
        (difflib.SequenceMatcher(None, line, t.strip(), autojunk=False).ratio() for t in targets),
        default=0.0,
    )


def in_language(text: str, scripts: Sequence[str], least: float = 0.5) -> bool:
    """Whether at least `least` of a text's letters belong to the scripts of its language."""
    return script_share(text, scripts) >= least


def language_consistency(texts: Sequence[str], scripts: Sequence[str]) -> float:
    """The share of the texts that hold letters and are written in `scripts`; 0 when none holds
    any.
    """
    spoken = [text for text in texts if any(character.isalpha() for character in text)]
    return sum(in_language(text, scripts) for text in spoken) / len(spoken) if spoken else 0.0
