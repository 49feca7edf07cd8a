"""A suite read from where its data lies, with its worked examples chosen."""

from __future__ import annotations

import dataclasses
import functools
import json
import random
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

from langraft.core.errors import BadInput
from langraft.core.io import sha256_json
from langraft.core.messages import warn
from langraft.evals.suites.question import Subject
from langraft.evals.suites.source import Files, read_files
from langraft.evals.suites.table import ANY, ENGLISH, SUITES


@dataclasses.dataclass(frozen=True)
class Exam:
    """A suite's subjects as they will be asked.

    Attributes:
        suite: the row of `SUITES`.
        shots: worked examples asked for; AGIEval's subjects hold as few as three.
        seed: draws the worked examples; without one they are the first.
    """

    suite: str
    split: str
    subjects: tuple[Subject, ...]
    shots: int
    seed: int | None

    def digest(self) -> str:
        """The sha256 of everything that is asked, so that two scores can be told to be of one
        exam.
        """
        return sha256_json([dataclasses.asdict(subject) for subject in self.subjects])

    @property
    def skipped(self) -> dict[str, int]:
        """How many items could not be asked, by reason, over all subjects."""
        found: dict[str, int] = {}
        for subject in self.subjects:
            for reason, count in subject.skipped.items():
                found[reason] = found.get(reason, 0) + count
        return found


@functools.cache
def subject_names() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """The published name and group of each subject, by suite and file key."""
    text = (resources.files("langraft.evals.suites") / "subjects.json").read_text(encoding="utf-8")
    return json.loads(text)


def name_of(suite: str, key: str) -> str:
    """The subject as prompts write it."""
    found = subject_names().get(suite, {}).get(key)
    return found["name"] if found else key.replace("_", " ")


def group_of(suite: str, key: str) -> str:
    """The subject's published group; CMMLU's "China specific" goes before any other."""
    found = subject_names().get(suite, {}).get(key)
    return found["group"] if found else ""


def language_of(suite: str, key: str) -> str:
    """`en` or `zh`: the language that a subject is asked in."""
    return "en" if key in ENGLISH else SUITES[suite].language


def load_exam(
    suite: str,
    data: str,
    root: Path,
    *,
    shots: int | None = None,
    split: str | None = None,
    subjects: Sequence[str] = (),
    limit: int | None = None,
    seed: int | None = None,
) -> Exam:
    """Read a suite.

    Args:
        suite: a name of `SUITES`.
        data: see `read_files`.
        shots, split: other than the suite's own.
        subjects: only these.
        limit: only the first so many questions of each subject.
        seed: draw the worked examples at random, the same for every model; without it the first
            are taken, as the published evaluations do.

    Raises:
        BadInput: an unknown suite or subject, no files, a split without questions, too few worked
            examples.
    """
    if suite not in SUITES:
        raise BadInput(f"suite {suite!r}: not known; there are {', '.join(SUITES)}")
    row = SUITES[suite]
    split, shots = split or row.split, row.shots if shots is None else shots
    pattern = re.compile(row.files, re.IGNORECASE)
    files = _of_one_root(suite, data, _files(suite, data, root))
    found = row.reader(files, pattern, split, row.shots_from)
    if subjects:
        unknown = sorted(set(subjects) - {subject.key for subject in found})
        if unknown:
            known = ", ".join(subject.key for subject in found)
            raise BadInput(f"{suite}: no subject {unknown[0]!r}; there are {known}")
        found = [subject for subject in found if subject.key in subjects]
    asked = [s for s in found if s.questions]
    for subject in {s.key for s in found} - {s.key for s in asked}:
        warn(f"{suite}/{subject}: no question of the split {split!r} can be scored; left out")
    if not asked:
        raise BadInput(f"{data}: no question of {suite}'s split {split!r} is there")
    chosen = tuple(_asked(suite, s, shots, limit, seed) for s in asked)
    return Exam(suite, split, chosen, shots, seed)


def held_suites(data: str, root: Path) -> list[str]:
    """The published suites whose files `data` holds, each below a folder, or in a file, that names
    it (`data` itself may): what a folder of several can be asked without saying which.

    Raises:
        BadInput: see `read_files`.
    """
    names: list[str] = []

    def noted(name: str) -> bool:
        names.append(f"{data}/{name}")
        return False

    read_files(data, root, noted)
    found = []
    for suite, row in SUITES.items():
        files, named = (re.compile(x, re.IGNORECASE) for x in (row.files, row.named))
        if row.named != ANY and any(files.search(name) and named.search(name) for name in names):
            found.append(suite)
    return found


def with_choices(exam: Exam, count: int) -> Exam:
    """Only the questions with one right answer among `count`, as published tables restrict AGIEval
    and GAOKAO-Bench to four; the others are counted as left out.

    Raises:
        BadInput: no question is so.
    """
    kept = []
    for subject in exam.subjects:
        fits = [q for q in subject.questions if q.single and len(q.labels) == count]
        reason = f"not one right answer among {count}"
        unfit = len(subject.questions) - len(fits)
        lost = {**subject.skipped, **({reason: unfit} if unfit else {})}
        if fits:
            kept.append(dataclasses.replace(subject, questions=fits, skipped=lost))
        else:
            warn(f"{exam.suite}/{subject.key}: none of its questions has {count} choices; left out")
    if not kept:
        raise BadInput(f"{exam.suite}: no question has one right answer among {count}")
    return dataclasses.replace(exam, subjects=tuple(kept))


def _asked(
    suite: str, subject: Subject, shots: int, limit: int | None, seed: int | None
) -> Subject:
    """The subject with its first `limit` questions and its chosen worked examples."""
    pool = list(subject.shots)
    if shots and not pool:
        raise BadInput(
            f"{suite}/{subject.key}: {shots} worked examples are asked for and its split "
            f"{SUITES[suite].shots_from!r} holds none; bring that file, or use --shots 0"
        )
    if seed is not None:
        random.Random(f"{seed}/{suite}/{subject.key}").shuffle(pool)
    return dataclasses.replace(subject, questions=subject.questions[:limit], shots=pool[:shots])


def _files(suite: str, data: str, root: Path) -> Files:
    """Everything in `data` that may be the suite's."""
    pattern = re.compile(SUITES[suite].files, re.IGNORECASE)
    return read_files(data, root, lambda name: bool(pattern.search(name)))


def _of_one_root(suite: str, data: str, files: Files) -> Files:
    """Only the files below the one folder that is this suite's.

    Raises:
        BadInput: there is none, or more than one could be meant.
    """
    named = re.compile(SUITES[suite].named, re.IGNORECASE)
    whole = f"{data}/".removeprefix("hub:")
    fits = {name: content for name, content in files.items() if named.search(name)}
    if fits and len(fits) < len(files):
        files = fits
    elif not fits and not named.search(whole) and _ambiguous(suite):
        files = _unnamed(suite, files)
    if not files:
        raise BadInput(
            f"{data}: holds no files of {suite}; its published layout is {SUITES[suite].files}"
        )
    return files


def _ambiguous(suite: str) -> bool:
    """Whether another suite's files have the same names."""
    row = SUITES[suite]
    return sum(other.files == row.files for other in SUITES.values()) > 1


def _unnamed(suite: str, files: Files) -> Files:
    """Files whose folders do not name the suite: taken when no folder names another suite."""
    others = {row.named for row in SUITES.values()} - {ANY, SUITES[suite].named}
    return {
        name: content
        for name, content in files.items()
        if not any(re.search(marker, name, re.IGNORECASE) for marker in others)
    }
