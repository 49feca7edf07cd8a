"""The texts of known benchmarks, out of the files they are published in, for decontamination."""

from __future__ import annotations

import contextlib
import csv
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.corpus.decontaminate import Item
from langraft.corpus.readers import read_texts

Texts = Iterator[tuple[str, str]]  # id of the item within its file, text
ARCHIVES = (".tar", ".tar.gz", ".tar.bz2", ".tar.zst")


class Layout(NamedTuple):
    """Where a suite's files lie in the folder of benchmarks, and how its texts are read."""

    globs: tuple[str, ...]
    read: Callable[[Path], Texts]


def benchmark_items(suites: Mapping[str, Path]) -> Iterator[Item]:
    """The items of the named `suites`.

    Args:
        suites: for each suite, the folder that holds the files of its publisher as `SUITES` says,
            of which every split is read, or a tar archive of that folder; or, for a suite of any
            name, a file that corpora may be in too (`read_texts`), each text an item.

    Raises:
        BadInput: a folder's suite is unknown, its files are missing or have another layout.
    """
    with contextlib.ExitStack() as stack:
        unpacked: dict[Path, Path] = {}
        for suite, place in suites.items():
            if place.name.endswith(ARCHIVES) and place not in unpacked:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                _unpack(place, folder)
                unpacked[place] = folder
            place = unpacked.get(place, place)
            if place.is_file():
                for record in read_texts(place):
                    yield Item(suite, f"{place.name}:{record.line}", record.text)
            elif suite in SUITES:
                yield from _suite(suite, place)
            else:
                raise BadInput(
                    f"corpus.decontaminate.suites.{suite}: no layout of a folder has that name; "
                    f"known: {', '.join(SUITES)}; or give a file of items"
                )


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive; members that would land outside of `folder` are refused."""
    try:
        with open_binary(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
            members.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise BadInput(f"{archive}: not a tar archive that can be unpacked ({error})") from error


def _suite(suite: str, folder: Path) -> Iterator[Item]:
    layout = SUITES[suite]
    files = sorted(file for pattern in layout.globs for file in folder.glob(pattern))
    if not files:
        raise BadInput(
            f"corpus.decontaminate.suites.{suite}: {folder} holds no files of the suite "
            f"({', '.join(layout.globs)})"
        )
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix()
        try:
            for number, text in layout.read(file):
                yield Item(suite, f"{name}:{number}", text)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise BadInput(
                f"{file}: does not have the layout of {suite!r} ({type(error).__name__}: {error})"
            ) from error


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            if line.strip():
                yield json.loads(line)


def _lines_with(*keys: str) -> Callable[[Path], Texts]:
    """A reader of JSON lines whose texts stand under `keys`."""

    def read(path: Path) -> Texts:
        for number, record in enumerate(_objects(path)):
            for key in keys:
                yield str(number), record[key]

    return read


def _choices(path: Path) -> Texts:
    """A csv of questions with four choices, with a header that names the column or without one.

    The question is one text; the question with its choices is another, because that is how a page
    of exercises prints it.
    """
    with path.open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.reader(stream))
    header = [cell.strip().lower() for cell in rows[0]]
    column = header.index("question") if "question" in header else 0
    for number, row in enumerate(rows["question" in header :]):
        if row:
            yield str(number), row[column]
            yield str(number), " ".join(row[column : column + 5])


def _passages(path: Path) -> Texts:
    """SQuAD's layout: articles of paragraphs with questions."""
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for number, paragraph in enumerate(article["paragraphs"]):
            name = str(paragraph.get("id") or f"{article.get('title', '')}-{number}")
            yield name, paragraph["context"]
            for question in paragraph["qas"]:
                yield name, question["question"]


def _dialogues(path: Path) -> Texts:
    """C3's layout: `[[text, ...], [{"question", "choice", "answer"}, ...], id]`."""
    for lines, questions, name in json.loads(path.read_text(encoding="utf-8")):
        yield str(name), " ".join(lines)
        for question in questions:
            yield str(name), question["question"]


def _turns(path: Path) -> Texts:
    for record in _objects(path):
        for turn in record["turns"]:
            yield str(record["question_id"]), turn


SUITES: Mapping[str, Layout] = {
    "cmmlu": Layout(("cmmlu/*/*.csv",), _choices),
    "ceval": Layout(("*ceval/*/*.csv",), _choices),
    "mmlu": Layout(("*mmlu/data/*/*.csv",), _choices),
    "c3": Layout(("c3/c3-*.json",), _dialogues),
    "cmrc2018": Layout(("cmrc2018/cmrc2018_*.json",), _passages),
    "xquad": Layout(("xquad/xquad.*.json",), _passages),
    "gsm8k": Layout(("gsm8k/*.jsonl",), _lines_with("question", "answer")),
    "alignbench": Layout(("alignbench/*.jsonl",), _lines_with("question")),
    "mt_bench": Layout(("mt_bench/question.jsonl",), _turns),
    "fewclue_tnews": Layout(("fewclue/tnews/test*.json",), _lines_with("sentence")),
    "fewclue_csl": Layout(("fewclue/csl/test*.json",), _lines_with("abst")),
    "fewclue_iflytek": Layout(("fewclue/iflytek/test*.json",), _lines_with("sentence")),
    "fewclue_eprstmt": Layout(("fewclue/eprstmt/test*.json",), _lines_with("sentence")),
    "fewclue_bustm": Layout(("fewclue/bustm/test*.json",), _lines_with("sentence1", "sentence2")),
    "fewclue_ocnli": Layout(("fewclue/ocnli/test*.json",), _lines_with("sentence1", "sentence2")),
    "fewclue_cluewsc": Layout(("fewclue/cluewsc/test*.json",), _lines_with("text")),
}
