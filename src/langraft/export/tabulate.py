"""The quantisation table: what each type costs in size and quality, and how fast it is here."""

from __future__ import annotations

import dataclasses
import math
import tempfile
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from langraft.core.errors import BadInput
from langraft.core.hardware import processor
from langraft.core.io import write_atomic, write_json
from langraft.core.messages import say
from langraft.evals.open import open_reader
from langraft.evals.statistics import Estimate
from langraft.evals.suite import Reader, evaluate
from langraft.evals.suites import Exam
from langraft.export.gguf import export_gguf, held_weights
from langraft.export.llamacpp import LlamaCpp
from langraft.tokenizer.encoder import Encoder, load_encoder

DEFAULT_TYPES = ("f16", "q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k", "q4_1", "q4_0")
WINDOW, GENERATED, REPEATS = 256, 32, 3


@dataclasses.dataclass(frozen=True)
class Row:
    """One type.

    Attributes:
        kind, megabytes: the type and the file's size, 10^6 bytes.
        perplexity: per token of this tokenizer; comparable within the table only.
        bits_per_byte: per UTF-8 byte.
        prompt_ms, generation_ms: median milliseconds a token, reading WINDOW tokens at once and
            generating one by one.
        exam: the share of right answers with its 95 % interval; None: no exam was asked for.
    """

    kind: str
    megabytes: float
    perplexity: float
    bits_per_byte: float
    prompt_ms: float
    generation_ms: float
    exam: dict[str, float] | None = None


@dataclasses.dataclass(frozen=True)
class Questions:
    """An exam and the protocol that it is answered by."""

    exam: Exam
    protocol: str


def quantisation_table(
    model: Path,
    texts: Sequence[str],
    out: Path,
    kinds: Sequence[str] = DEFAULT_TYPES,
    *,
    max_bytes: int = 20_000,
    questions: Questions | None = None,
) -> dict[str, Any]:
    """Measure every type and write `table.md`, `table.json` and `table.svg` to the folder `out`.

    The exam is answered with every type's weights as that type holds them, through transformers.
    Every byte of the text after each window's first token is scored once, through llama.cpp.

    Raises:
        BadInput: too little text, or a model that cannot be exported.
    """
    encoder = load_encoder(model)
    windows = _windows(encoder, texts, max_bytes)
    if not windows:
        raise BadInput(f"--text: less than {WINDOW} tokens; the table needs more text")
    rows, reader = [], open_reader(model) if questions else None
    with tempfile.TemporaryDirectory() as folder:
        for kind in kinds:
            file = Path(folder) / f"{kind}.gguf"
            export_gguf(model, file, kind)
            row = _measure(file, kind, encoder, windows)
            file.unlink()
            if questions is not None and reader is not None:
                score = _answered(reader, model, kind, questions, Path(folder))
                row = dataclasses.replace(row, exam=dataclasses.asdict(score))
            rows.append(row)
            say(f"{kind}: {rows[-1].megabytes:,.1f} MB, {rows[-1].bits_per_byte:.4f} bits per byte")
    found = {
        "model": str(model),
        "machine": processor(),
        "exam": f"{questions.exam.suite}, {questions.protocol}" if questions else None,
        "tokens": sum(len(window) - 1 for window in windows),
        "rows": [dataclasses.asdict(row) for row in rows],
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "table.json", found)
    write_atomic(out / "table.md", markdown(rows))
    write_atomic(out / "table.svg", plot(rows))
    return found


def _windows(encoder: Encoder, texts: Sequence[str], max_bytes: int) -> list[list[int]]:
    """Whole windows from every text in turn, up to `max_bytes` UTF-8 bytes."""
    found, used = [], 0
    for text in texts:
        ids = encoder.encode(text[: 8 * WINDOW])[:WINDOW]
        if len(ids) == WINDOW and used < max_bytes:
            found.append(ids)
            used += sum(len(encoder.piece_bytes(token)) for token in ids)
    return found


def _measure(file: Path, kind: str, encoder: Encoder, windows: Sequence[list[int]]) -> Row:
    nats, tokens, scored, prompt, generation = 0.0, 0, 0, [], []
    with LlamaCpp(file) as engine:
        for ids in windows:
            started = time.perf_counter()
            logits = engine.logits(ids)
            prompt.append((time.perf_counter() - started) / len(ids))
            nats += _surprise(logits[:-1], ids[1:])
            tokens += len(ids) - 1
            scored += sum(len(encoder.piece_bytes(token)) for token in ids[1:])
        for ids in windows[:REPEATS]:
            engine.logits(ids[:8])
            started = time.perf_counter()
            for place in range(8, 8 + GENERATED):
                engine.logits(ids[place : place + 1], place)
            generation.append((time.perf_counter() - started) / GENERATED)
    return Row(
        kind,
        round(file.stat().st_size / 1e6, 1),
        math.exp(nats / tokens),
        nats / math.log(2) / scored,
        1e3 * float(np.median(prompt)),
        1e3 * float(np.median(generation)),
    )


def _answered(
    reader: Reader, model: Path, kind: str, questions: Questions, folder: Path
) -> Estimate:
    """The exam's score with the weights of type `kind`."""
    weights = reader.model.state_dict()
    with torch.no_grad():
        for name, tensor in held_weights(model, kind):
            weights[name].copy_(tensor)
    return evaluate(reader, questions.exam, questions.protocol, folder / f"exam-{kind}").main


def _surprise(logits: np.ndarray, ids: Sequence[int]) -> float:
    """Sum of -ln p(id), from logits of shape (ids, rows)."""
    top = logits.max(-1, keepdims=True)
    log_sum = np.log(np.exp((logits - top).astype(np.float64)).sum(-1)) + top[:, 0]
    return float((log_sum - logits[np.arange(len(ids)), ids]).sum())


def markdown(rows: Sequence[Row]) -> str:
    """The table as Markdown."""
    exam = any(row.exam for row in rows)
    lines = [
        "| type | MB | perplexity | bits per byte | prompt, ms/token | generation, ms/token |"
        + (" exam, % (95 % interval) |" if exam else ""),
        "|---|---|---|---|---|---|" + ("---|" if exam else ""),
    ]
    for row in rows:
        line = (
            f"| {row.kind} | {row.megabytes:.1f} | {row.perplexity:.3f} | {row.bits_per_byte:.4f} "
            f"| {row.prompt_ms:.2f} | {row.generation_ms:.2f} |"
        )
        if row.exam:
            value, low, high = (100 * row.exam[key] for key in ("value", "low", "high"))
            line += f" {value:.1f} ({low:.1f} - {high:.1f}) |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[Row]) -> str:
    """Size against bits per byte, as SVG."""
    wide, high, edge = 640, 360, 60
    sizes, bits = [row.megabytes for row in rows], [row.bits_per_byte for row in rows]
    low, span = min(bits), max(max(bits) - min(bits), 1e-6)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{wide}" height="{high}" fill="#fff"/>',
        f'<text x="{wide / 2}" y="{high - 12}" text-anchor="middle">megabytes</text>',
        '<text x="8" y="20">bits per byte</text>',
        f'<path d="M{edge},{edge / 2}V{high - edge}H{wide - edge / 2}" fill="none" stroke="#888"/>',
    ]
    for row in rows:
        x = edge + row.megabytes / max(sizes) * (wide - 2 * edge)
        y = high - edge - 20 - (row.bits_per_byte - low) / span * (high - 2 * edge - 20)
        label = f"{row.kind} {row.megabytes:.0f} MB {row.bits_per_byte:.3f}"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#1b998b"/>')
        parts.append(f'<text x="{x + 7:.1f}" y="{y - 5:.1f}">{escape(label)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
