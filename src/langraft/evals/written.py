"""Scores of written answers: exact match, F1, ROUGE, likeness of code, and the language they are
written in.
"""

from __future__ import annotations

import difflib
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from langraft.corpus.scripts import script_share

Segment = Callable[[str], list[str]]
# A written answer, what is accepted, and the classes to choose from, to a score from 0 to 1.
Measure = Callable[[str, Sequence[str], Sequence[str]], float]
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


def chinese_words(text: str) -> list[str]:
    """Words by jieba's dictionary, normalised, marks and blanks left out."""
    import rjieba

    return [word for word in (normal(found) for found in rjieba.cut(text)) if word]


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


def one_class(text: str, targets: Sequence[str], classes: Sequence[str]) -> float:
    """LongBench's rule for classes: of those that the text names, without those whose name is a
    part of the right one's, the right one's share.
    """
    best = 0.0
    for target in targets:
        named = [c for c in classes if c in text and not (c != target and c in target)]
        best = max(best, 1 / len(named) if target in named else 0.0)
    return best


def numbers_right(text: str, number: str) -> float:
    """The share of a text's numbers that are `number`."""
    found = re.findall(r"\d+", text)
    return found.count(number) / len(found) if found else 0.0


def _number(text: str, targets: Sequence[str], _: Sequence[str]) -> float:
    return max((numbers_right(text, target.strip()) for target in targets), default=0.0)


def _paragraph(text: str, targets: Sequence[str], _: Sequence[str]) -> float:
    """Targets name a paragraph: `Paragraph 15`, `段落15`."""
    numbers = [found[0] for target in targets if (found := re.search(r"\d+", target))]
    return max((numbers_right(text, number) for number in numbers), default=0.0)


def _first_line(measure: Measure) -> Measure:
    """The measure of the first line that is not empty: what follows is the next example."""
    return lambda text, targets, classes: measure(
        text.lstrip("\n").split("\n")[0], targets, classes
    )


def _by(score: Callable[[str, Sequence[str], Segment], float], segment: Segment) -> Measure:
    return lambda text, targets, _: score(text, targets, segment)


MEASURES: Mapping[str, Measure] = {
    "f1": _by(f1, words),
    "f1-zh": _by(f1, chinese_words),
    "f1-line": _first_line(_by(f1, words)),
    "rouge": _by(rouge_l, words),
    "rouge-zh": _by(rouge_l, chinese_words),
    "rouge-line": _first_line(_by(rouge_l, words)),
    "class-line": _first_line(one_class),
    "paragraph": _paragraph,
    "number": _number,
    "code": lambda text, targets, _: code_likeness(text, targets),
}


def in_language(text: str, scripts: Sequence[str], least: float = 0.5) -> bool:
    """Whether at least `least` of a text's letters belong to the scripts of its language."""
    return script_share(text, scripts) >= least
