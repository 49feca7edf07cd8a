"""From what the model said to a result: which answer it picked, and how right that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from langraft.core.errors import RunFailed
from langraft.evals import extract, written
from langraft.evals.plan import Item
from langraft.evals.protocols import Protocol
from langraft.evals.suites import language_of

SCRIPTS = {"zh": ("Han",), "en": ("Latin",)}


def judged(
    item: Item, protocol: Protocol, scores: Sequence[float] | None, text: str | None
) -> dict[str, Any]:
    """The result line of one item.

    Args:
        scores: one a label, where letters or texts were scored.
        text: what the model wrote, where it wrote.

    Raises:
        RunFailed: a score is not a finite number: the model is broken, and 0 would be a lie.
    """
    found: dict[str, Any] = {
        "id": item.id,
        "subject": item.writer.subject.key,
        "shots": item.prompt.shots,
        "cut": item.prompt.cut,
        "answer": " ".join(item.question.answers) or " | ".join(item.question.targets),
    }
    if text is not None:
        found["text"] = text
    if scores is not None:
        if not all(math.isfinite(score) for score in scores):
            raise RunFailed(f"{item.id}: the model's scores are {scores}, not finite numbers")
        found |= _by_scores(item, scores)
    elif text is not None:
        found |= _by_text(item, protocol, text)
    if scores is not None and text is not None:  # right if either is
        letter = extract.first_letter(text, item.question.labels)
        found["written"] = letter
        found["score"] = float(max(found["score"], letter == item.question.answers[0]))
    return found


def _by_scores(item: Item, scores: Sequence[float]) -> dict[str, Any]:
    question = item.question
    labels, right = question.labels, question.answers[0]
    picked = labels[max(range(len(scores)), key=scores.__getitem__)]
    found: dict[str, Any] = {"scores": [round(score, 6) for score in scores], "picked": picked}
    found["score"] = float(picked in right)
    if item.how == "texts" and not item.fill:
        # The harness divides by the option's length in characters.
        normed = [s / max(1, len(o)) for s, o in zip(scores, question.options, strict=True)]
        best = labels[max(range(len(normed)), key=normed.__getitem__)]
        found["normed"] = float(best in right)
        if len(right) > 1 or item.writer.suite == "truthfulqa-mc2":
            found["score"] = true_mass(labels, right, scores)
    return found


def true_mass(labels: str, right: str, scores: Sequence[float]) -> float:
    """The probability of the true options among all (TruthfulQA's MC2)."""
    top = max(scores)
    masses = [math.exp(score - top) for score in scores]
    true = sum(mass for mass, label in zip(masses, labels, strict=True) if label in right)
    return true / sum(masses)


def _by_text(item: Item, protocol: Protocol, text: str) -> dict[str, Any]:
    question = item.question
    if not question.answers:
        return _open(item, text) | _language(item, text)
    if len(question.answers) > 1:
        if protocol.extract == "first-letter":
            right = "".join(sorted(set("".join(question.answers))))
            found = extract.letters_in(text, question.labels)
            return {"picked": found, "score": extract.share_of_several(found, right)}
        share = extract.sequence_share(text, question.answers, question.labels)
        return {"picked": extract.letters_in(text, question.labels), "score": share}
    right = question.answers[0]
    if item.writer.subject.key in protocol.several:
        found = extract.letters_in(text, question.labels)
        return {"picked": found, "score": extract.share_of_several(found, right)}
    picked = extract.letter_by_phrase(text, question.labels, question.options)
    return {"picked": picked, "score": float(picked == right)}


def _language(item: Item, text: str) -> dict[str, Any]:
    """Whether the answer is in the language of the question; nothing where it holds no letter."""
    if not any(character.isalpha() for character in text):
        return {}
    scripts = SCRIPTS[language_of(item.writer.suite, item.writer.subject.key)]
    return {"language": float(written.in_language(text, scripts))}


def _open(item: Item, text: str) -> dict[str, Any]:
    suite, targets = item.writer.suite, item.question.targets
    measure = item.writer.subject.measure
    if measure:
        score = written.MEASURES[measure](text, targets, item.question.options)
        return {"picked": text.strip(), "score": score}
    if suite == "gsm8k":
        number = extract.number_answer(text)
        return {"picked": number, "score": float(extract.same_number(number, targets[0]))}
    if suite == "agieval":
        same = extract.math_normal(text) in {extract.math_normal(t) for t in targets}
        return {"picked": text.strip(), "score": float(same)}
    exact = written.exact_match(text, targets)
    best = written.f1(text, targets, written.characters)
    return {"picked": text.strip(), "score": exact, "f1": best}
