"""What a build has to do: units of files to read, and where its unfinished work lies."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from langraft.core.io import PARTIAL
from langraft.corpus.readers import expand
from langraft.corpus.rules import Thresholds, thresholds_for
from langraft.corpus.sensitive import read_lists
from langraft.recipe import Corpus

if TYPE_CHECKING:
    from langraft.corpus.decontaminate import Decontaminator
    from langraft.corpus.language import LanguageIdentifier
    from langraft.corpus.quality.scorer import Scorer

UNIT_BYTES = 64_000_000  # on disk: files are read in groups of about so many
UNIT_FILES = 2_000
NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}


@dataclasses.dataclass(frozen=True)
class Tools:
    """What the steps need from elsewhere; must be picklable.

    Attributes:
        identify: the languages of texts.
        scorer: their quality.
        contamination: finds benchmark items in texts.
        count_tokens: tokens of texts under the recipe's tokenizer.
    """

    identify: LanguageIdentifier | None = None
    scorer: Scorer | None = None
    contamination: Decontaminator | None = None
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None = None


@dataclasses.dataclass(frozen=True)
class Unit:
    """Files of one source that are read together: their places in the source's list."""

    name: str
    source: int
    files: tuple[int, ...]
    size: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """Everything a worker needs to know; must be picklable.

    Attributes:
        files: the files of every source.
        names: the same as the recipe would write them.
        limits: the rules of every source.
        work: the folder of unfinished work.
        sensitive_files: the term lists.
    """

    corpus: Corpus
    files: tuple[tuple[Path, ...], ...]
    names: tuple[tuple[str, ...], ...]
    limits: tuple[Thresholds, ...]
    work: Path
    sensitive_files: tuple[Path, ...] = ()
    tools: Tools = Tools()

    @property
    def size(self) -> int:
        """Bytes of all input files on disk."""
        return sum(path.stat().st_size for files in self.files for path in files)

    def units(self) -> list[Unit]:
        """The groups of files to read, in order."""
        found: list[Unit] = []
        for source, files in enumerate(self.files):
            group: list[int] = []
            held = 0
            for place, path in enumerate(files):
                group.append(place)
                held += path.stat().st_size
                if held >= UNIT_BYTES or len(group) >= UNIT_FILES or place == len(files) - 1:
                    name = f"{source:03}-{len(found):05}"
                    found.append(Unit(name, source, tuple(group), held))
                    group, held = [], 0
        return found


def plan_of(
    corpus: Corpus, new_language: str, root: Path, work: Path, tools: Tools | None = None
) -> Plan:
    """Look every file up and check the rules, before anything is read.

    Raises:
        BadInput: a path matches no readable file, a rule or threshold is unknown, or a term list
            is not one.
    """
    limits = tuple(
        thresholds_for(s.language, new_language, corpus.rules, corpus.thresholds)
        for s in corpus.sources
    )
    files = tuple(tuple(expand(source.paths, root)) for source in corpus.sources)
    names = tuple(tuple(as_written(path, root) for path in found) for found in files)
    lists = tuple(root / path for path in corpus.sensitive.lists)
    if lists:
        read_lists(lists)
    return Plan(corpus, files, names, limits, work, lists, tools or Tools())


def as_written(file: Path, root: Path) -> str:
    """Relative to `root` unless the recipe gave an absolute path: a moved project is the same."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def finished(work: Path, name: str) -> str | None:
    """What the task `name` returned when it ended, or None if it did not."""
    path = work / f"{name}.json"
    return path.read_text(encoding="utf-8") if path.exists() else None


def finish(work: Path, name: str, result: dict[str, Any]) -> str:
    """Note that a task has ended, after all its files are in place; returns the note."""
    note = json.dumps(result, ensure_ascii=False)
    with appearing(work / f"{name}.json") as path:
        path.write_text(note, encoding="utf-8")
    return note


def link(old: Path, new: Path) -> None:
    """Give a finished file a second name; where the disk has no links, copy it."""
    new.parent.mkdir(parents=True, exist_ok=True)
    new.unlink(missing_ok=True)
    try:
        new.hardlink_to(old)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        with appearing(new) as path:
            shutil.copyfile(old, path)


def mapped(path: Path) -> npt.NDArray[np.uint8]:
    """A file's bytes without a copy of them; an empty file cannot be mapped."""
    if not path.stat().st_size:
        return np.zeros(0, np.uint8)
    return np.asarray(np.memmap(path, np.uint8, "r"))


class appearing:
    """A path to write to; the file takes its final name when the block ends well.

    Unfinished work is not flushed to disk: a kill loses nothing, and after a power cut the folder
    is thrown away by its fingerprint or read whole.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._partial

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)
