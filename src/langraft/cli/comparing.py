"""Both models of a comparison, measured on the same texts and suites."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from langraft.cli.options import texts_of
from langraft.core.errors import BadInput
from langraft.core.messages import track
from langraft.data.frame import document_frame
from langraft.evals.bits import Bits, bits_per_byte, excerpts
from langraft.evals.compare import SuiteScore, TextScore, suite_score, text_score
from langraft.evals.ledger import read_results
from langraft.evals.open import open_reader, results_folder
from langraft.evals.suite import Reader, evaluate
from langraft.evals.suites import load_exam
from langraft.tokenizer.encoder import Encoder, load_encoder

WINDOW = 512


@dataclasses.dataclass(frozen=True)
class Side:
    """One of the two models."""

    reader: Reader
    encoder: Encoder

    @classmethod
    def open(cls, folder: Path, precision: str) -> Side:
        """The model in `folder`."""
        return cls(open_reader(folder, precision=precision), load_encoder(folder))

    def bits(self, texts: Sequence[str]) -> list[Bits]:
        """What the model spends on each text."""
        start = document_frame(self.reader.tokenizer).start
        return [
            bits_per_byte(
                self.reader.model, self.encoder.encode_batch, [text], start=start, window=WINDOW
            )
            for text in track(texts, "bits per byte", total=len(texts), unit="texts")
        ]


def compared_texts(
    sides: Sequence[Side], bodies: Mapping[str, str], max_bytes: int
) -> list[TextScore]:
    """Bits per byte of both models on each body of text, given as files by language."""
    found = []
    for code, files in bodies.items():
        texts = excerpts(texts_of([files]), max_bytes)
        if not texts:
            raise BadInput(f"--text {code}={files}: these files hold no text")
        name = Path(files).name.split(".")[0]
        base, model = (side.bits(texts) for side in sides)
        found.append(text_score(name, code, base, model))
    return found


def compared_suites(
    sides: Sequence[Side],
    asked: Sequence[tuple[str, str]],
    data: str,
    protocol: Callable[[str], str],
    limit: int | None,
) -> list[SuiteScore]:
    """Both models on each suite; `asked` holds names with numbers of worked examples or none."""
    found = []
    window = min(side.reader.window for side in sides)
    for suite, shots in asked:
        if shots and not shots.isdigit():
            raise BadInput(f"--suite {suite}={shots}: the number of worked examples is a number")
        exam = load_exam(suite, data, Path(), shots=int(shots) if shots else None, limit=limit)
        summaries, lines = [], []
        for side in sides:
            reader = dataclasses.replace(side.reader, window=window)
            folder = results_folder(reader, exam, protocol(suite))
            summaries.append(evaluate(reader, exam, protocol(suite), folder).as_json())
            lines.append(list(read_results(folder)))
        found.append(suite_score(summaries[0], summaries[1], lines[0], lines[1]))
    return found
