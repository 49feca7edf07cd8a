"""Documents to ask about: read, split with Chinese punctuation in mind, found by BM25."""

from __future__ import annotations

import collections
import dataclasses
import math
import re
import zipfile
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path

from langraft.core.errors import BadInput
from langraft.core.messages import warn

PASSAGE_CHARACTERS, OVERLAP_CHARACTERS = 600, 80
LARGEST_FILE = 200_000_000
# A sentence ends with its mark and the quotes and brackets that close with it, or with a line.
SENTENCE = re.compile(
    r"[^。！？；!?;.\n]*(?:[。！？；!?;]+[」』”’）)\]]*|\.(?=\s|$)[\"')\]]*|\.|\n+|$)"
)
WORD = re.compile(r"[^\W_]+")
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u3040-\u30ff\uac00-\ud7af]")
K1, B = 1.5, 0.75  # Robertson and Zaragoza 2009


@dataclasses.dataclass(frozen=True)
class Passage:
    """A piece of a document.

    Attributes:
        file: the document's path below the folder.
        start: its first character there.
        text: what it says.
    """

    file: str
    start: int
    text: str


class _Html(HTMLParser):
    """The text of a page: scripts and styles dropped, blocks on lines of their own."""

    BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "section", "td"})
    DROPPED = frozenset({"script", "style", "template", "noscript"})

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._dropping = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a block, or what is dropped."""
        self._dropping += tag in self.DROPPED
        if tag in self.BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """End what is dropped."""
        if tag in self.DROPPED and self._dropping:
            self._dropping -= 1

    def handle_data(self, data: str) -> None:
        """Keep text."""
        if not self._dropping:
            self.parts.append(data)


def _plain(path: Path) -> str:
    return path.read_text(encoding="utf-8-sig")


def _html(path: Path) -> str:
    parser = _Html()
    parser.feed(_plain(path))
    return re.sub(r"\n\s*\n+", "\n\n", "".join(parser.parts)).strip()


def _pdf(path: Path) -> str:
    import pypdf
    from pypdf.errors import PyPdfError

    try:
        return "\n".join(page.extract_text() for page in pypdf.PdfReader(path).pages)
    except PyPdfError as error:
        raise ValueError(f"damaged or protected PDF: {error}") from error


def _docx(path: Path) -> str:
    import docx
    from docx.opc.exceptions import PackageNotFoundError

    try:
        document = docx.Document(str(path))
    except (PackageNotFoundError, zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"not a Word document: {error}") from error
    cells = [c.text for table in document.tables for row in table.rows for c in row.cells]
    return "\n".join([*(p.text for p in document.paragraphs), *cells])


READERS: dict[str, Callable[[Path], str]] = {
    ".txt": _plain,
    ".md": _plain,
    ".html": _html,
    ".htm": _html,
    ".pdf": _pdf,
    ".docx": _docx,
}


def read_folder(folder: Path) -> list[tuple[str, str]]:
    """Every readable document below `folder` (or that one file): its relative path and its text.

    Links that lead out of the folder are not followed; a file that cannot be read is warned of.

    Raises:
        BadInput: nothing there, or nothing that can be read.
    """
    if not folder.exists():
        raise BadInput(f"--docs {folder}: no such file or folder")
    root = folder if folder.is_dir() else folder.parent
    files = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    found = []
    for path in files:
        reader = READERS.get(path.suffix.lower())
        inside = path.resolve().is_relative_to(root.resolve())
        if reader is None or not inside or not path.is_file():
            continue
        if path.stat().st_size > LARGEST_FILE:
            warn(f"{path}: larger than {LARGEST_FILE:,} bytes, left out")
            continue
        try:
            text = reader(path)
        except ValueError as error:  # a UnicodeDecodeError is one too
            warn(f"{path}: cannot be read ({error}), left out")
            continue
        if text.strip():
            found.append((str(path.relative_to(root)), text))
    if not found:
        raise BadInput(f"--docs {folder}: holds no text in {', '.join(READERS)} files")
    return found


def split(file: str, text: str, size: int = PASSAGE_CHARACTERS) -> list[Passage]:
    """Passages of up to `size` characters that end where sentences end, the last sentence of one
    repeated in the next where it is short. A longer sentence is cut.
    """
    pieces: list[tuple[int, str]] = []
    for match in SENTENCE.finditer(text):
        for at in range(match.start(), match.end(), size):
            pieces.append((at, text[at : min(at + size, match.end())]))
    passages: list[Passage] = []
    held: list[tuple[int, str]] = []
    for at, sentence in pieces:
        if held and sum(len(s) for _, s in held) + len(sentence) > size:
            passages.append(_passage(file, held))
            held = held[-1:] if len(held[-1][1]) <= OVERLAP_CHARACTERS < size else []
            if held and len(held[0][1]) + len(sentence) > size:
                held = []
        held.append((at, sentence))
    if held:
        passages.append(_passage(file, held))
    return [passage for passage in passages if passage.text.strip()]


def _passage(file: str, held: Sequence[tuple[int, str]]) -> Passage:
    return Passage(file, held[0][0], "".join(sentence for _, sentence in held))


def terms(text: str) -> list[str]:
    """What is counted: words in lower case, and bigrams of characters in scripts without spaces."""
    found = []
    for word in WORD.findall(text.lower()):
        for run in re.split(f"({HAN.pattern}+)", word):
            if not run:
                continue
            if HAN.match(run):
                found += [run[i : i + 2] for i in range(len(run) - 1)] or [run]
            else:
                found.append(run)
    return found


class Bm25:
    """Okapi BM25 over passages."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self.passages = list(passages)
        self._counts = [collections.Counter(terms(p.text)) for p in self.passages]
        self._lengths = [sum(count.values()) for count in self._counts]
        self._mean = sum(self._lengths) / max(1, len(self._lengths)) or 1.0
        self._seen = collections.Counter(term for count in self._counts for term in count)

    def scores(self, question: str) -> list[float]:
        """One score a passage; 0 where no term is shared."""
        wanted, total = set(terms(question)), len(self.passages)
        rarity = {
            term: math.log(1 + (total - self._seen[term] + 0.5) / (self._seen[term] + 0.5))
            for term in wanted
        }
        found = []
        for count, length in zip(self._counts, self._lengths, strict=True):
            norm = K1 * (1 - B + B * length / self._mean)
            found.append(
                sum(
                    rarity[t] * count[t] * (K1 + 1) / (count[t] + norm) for t in wanted & set(count)
                )
            )
        return found

    def best(self, question: str, count: int) -> list[Passage]:
        """The `count` best passages that share a term with the question, best first."""
        scores = self.scores(question)
        order = sorted(range(len(scores)), key=lambda n: (-scores[n], n))
        return [self.passages[n] for n in order[:count] if scores[n] > 0]
