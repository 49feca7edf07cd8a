"""Answers looked for in written text: letters, numbers, and whether they are right."""

from __future__ import annotations

import re
from collections.abc import Sequence

PHRASES = (
    *(
        r"([{labels}])\s*是正确的",
        r"选项\s*([{labels}])\s*正确",
        r"答案[为是]\s*[:：]?\s*([{labels}])",
    ),
    *(r"答案\s*[:：]?\s*([{labels}])", r"选择?(?:答案)?\s*[:：]?\s*([{labels}])"),
    r"(?i:answer\s*(?:is)?)\s*[:：]?\s*\(?([{labels}])(?![a-z])",
)
_LAST_PHRASE = re.compile(r"所以答案是(.+?)。")
_LONE = re.compile(r"(?<![a-z])([A-Z])(?![a-z])")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def first_letter(text: str, labels: str) -> str:
    """The first capital letter without a small one beside it; nothing when it is no label."""
    found = _LONE.search(text)
    return found[1] if found and found[1] in labels else ""


def letter_by_phrase(text: str, labels: str, options: Sequence[str] = ()) -> str:
    """The letter that the text names: in a closing sentence, in a phrase, alone, or by an option's
    own words; nothing when there is none.
    """
    closing = _LAST_PHRASE.findall(text)
    if closing and closing[-1] in list(labels):
        return str(closing[-1])
    for phrase in PHRASES:
        found = re.search(phrase.replace("{labels}", labels), text)
        if found:
            return found[1]
    lone = [letter for letter in _LONE.findall(text) if letter in labels]
    if lone:
        return str(lone[0])
    places = {text.find(o): letter for letter, o in zip(labels, options, strict=False) if o}
    places.pop(-1, None)
    return places[min(places)] if places else ""


def letters_in(text: str, labels: str) -> str:
    """Every lone label in the text, once each, in the labels' order."""
    found = set(_LONE.findall(text)) | _runs(text, labels)
    return "".join(letter for letter in labels if letter in found)


def _runs(text: str, labels: str) -> set[str]:
    """Letters of words made of labels only, such as ABD."""
    words = re.findall(rf"(?<![A-Za-z])[{labels}]+(?![A-Za-z])", text)
    return {letter for word in words for letter in word}


def share_of_several(found: str, right: str) -> float:
    """0 with any wrong letter, else the share of the right ones that was found."""
    if not found or set(found) - set(right):
        return 0.0
    return len(set(found)) / len(set(right))


def sequence_share(text: str, answers: Sequence[str], labels: str) -> float:
    """For a record that asks several things: the share of its parts whose letters stand at their
    place in the text.
    """
    words = re.findall(rf"(?<![A-Za-z])[{labels}]+(?![A-Za-z])", text)
    if all(len(answer) == 1 for answer in answers):
        words = [letter for word in words for letter in word]
    right = sum(a == b for a, b in zip(words, answers, strict=False))
    return right / len(answers)


def number_answer(text: str) -> str:
    """The number a word problem's solution ends in: behind ####, else behind the last "answer is",
    else behind the last `=` there, else the last number.
    """
    for mark in ("####", "answer is"):
        if mark in text:
            text = text.rsplit(mark, 1)[1]
            found = _NUMBER.findall(text)
            if mark == "####" and found:
                return _plain(found[0])
            break
    if "=" in text and _NUMBER.search(text.rsplit("=", 1)[1]):
        text = text.rsplit("=", 1)[1]
    found = _NUMBER.findall(text)
    return _plain(found[-1]) if found else ""


def _plain(number: str) -> str:
    return number.replace(",", "").rstrip(".")


def same_number(found: str, right: str) -> bool:
    """Whether two numbers are equal, 18 and 18.0 alike."""
    try:
        return abs(float(found) - float(_plain(right))) < 1e-6
    except ValueError:
        return found == right


_LATEX = (
    (re.compile(r"\\(?:left|right|!|,|;| )"), ""),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\(?:text|mathrm|mathbf)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\^\{?\\circ\}?"), ""),
    (re.compile(r"[$\\]?[$%]|\s+"), ""),
)
_BOXED = re.compile(r"\\boxed\{(.*)\}", re.DOTALL)


def math_normal(text: str) -> str:
    """An answer of mathematics without the ways of writing it that mean the same: spacing,
    `\\left`, kinds of fraction, units, `$`, a final stop, `x=`.
    """
    text = text.strip().split("\n")[0]
    boxed = _BOXED.search(text)
    text = boxed[1] if boxed else text
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    text = text.rstrip("。.")
    name, equals, rest = text.partition("=")
    return rest if equals and len(name) <= 2 else text
