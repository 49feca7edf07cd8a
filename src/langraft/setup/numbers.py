"""The numbers of a first recipe, each from the answers and with the reason that stands beside it in
the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from langraft.core.errors import BadInput
from langraft.plan.memory import Checkpointing
from langraft.setup.answers import Answers
from langraft.setup.survey import Survey

LEAST_TEXT = 50_000  # bytes: below, hold-out and training text are too little to say anything
BYTES_A_TOKEN = 6.0  # of an extended vocabulary; more than is usual, so that the text suffices
OLD_BYTES_A_TOKEN = 4.5  # English on its own base
KEPT = 0.75  # share of the text that is left behind rules, copies and hold-out
MOST_EPOCHS = 4.0  # arXiv 2305.16264: up to four readings teach about as much as new text
SEEN = 100  # times that a new piece should be seen (`tokenizer sweep` asks for the same)
TRY_PIECES = 1_024  # the quickstart's
TRY_TOKENS = {True: 15_360, False: 1_000_000}  # on a CPU, the quickstart's; on a GPU a few minutes
OLD_SHARE = 0.15  # of every batch: the quickstart's, which forgets nothing that can be measured
CHECKPOINTINGS: tuple[Checkpointing, ...] = ("none", "selective", "full")
LORA_RATE = 2e-4  # Chinese-LLaMA-2's


@dataclasses.dataclass(frozen=True)
class Numbers:
    """What the file says besides names.

    Attributes:
        keep: the base's vocabulary stays as it is.
        size: pieces to add; "auto" lets a sweep decide.
        holdout: bytes of each source.
        tokens, rows_tokens: budgets of the main stage and of the stage before it that trains new
            rows only (0: there is none).
        old_share, epochs: of the main stage.
    """

    keep: bool
    size: int | str
    holdout: int
    tokens: int
    rows_tokens: int
    old_share: float
    epochs: float
    row: int
    batch: int
    lr: float


@dataclasses.dataclass(frozen=True)
class Way:
    """How the main stage fits the hardware."""

    train: str
    checkpointing: Checkpointing
    micro_rows: int


def numbers_of(answers: Answers) -> Numbers:
    """The numbers.

    Raises:
        BadInput: there is too little text.
    """
    data, cpu = answers.data, not _is_gpu(answers)
    trying = answers.goal == "try"
    if data.new_bytes < LEAST_TEXT:
        raise BadInput(
            f"data {str(data.folder)!r}: {data.new_bytes:,} bytes in {answers.tongue.code} are too "
            f"little; a first try needs {LEAST_TEXT:,}, and a model that learns needs megabytes"
        )
    keep = answers.tongue.latin
    old_share, possible = _old_share(data), _possible(data)
    tokens = min(TRY_TOKENS[cpu], possible) if trying else possible
    row = _row(answers, trying, cpu)
    batch = _batch(answers, tokens, row, trying, cpu)
    tokens = max(tokens // batch, 1) * batch
    rows_tokens = 0 if trying or keep else max(min(20_000_000, tokens // 20) // batch, 1) * batch
    return Numbers(
        keep=keep,
        size=min(TRY_PIECES, max(possible // SEEN, 64)) if trying else "auto",
        holdout=max(min(200_000, _smallest(data) // 10), 5_000),
        tokens=tokens,
        rows_tokens=rows_tokens,
        old_share=old_share,
        epochs=MOST_EPOCHS,
        row=row,
        batch=batch,
        lr=_rate(answers, trying),
    )


def ways(numbers: Numbers, devices: int) -> Iterator[Way]:
    """How the main stage may run, the best first: all weights, then an adapter; nothing computed
    again, then more; many rows at a time, then one.
    """
    rows = max(numbers.batch // numbers.row // devices, 1)
    sizes = [n for n in (8, 4, 2, 1) if n <= rows]
    for train in ("full", "lora"):
        for checkpointing in CHECKPOINTINGS:
            for micro in sizes:
                yield Way(train, checkpointing, micro)


def _is_gpu(answers: Answers) -> bool:
    return answers.hardware.name != "cpu"


def _smallest(data: Survey) -> int:
    return min(body.size for body in (*data.new, *data.old))


def _possible(data: Survey) -> int:
    """Tokens that the new language's text gives in one reading, the old one's share included."""
    return int(data.new_bytes * KEPT / BYTES_A_TOKEN / (1 - _old_share(data)))


def _old_share(data: Survey) -> float:
    """The old language's share of a batch: as its text allows when it is read `MOST_EPOCHS` times
    while the new one is read once.
    """
    there = data.old_bytes * KEPT / OLD_BYTES_A_TOKEN * MOST_EPOCHS
    new = data.new_bytes * KEPT / BYTES_A_TOKEN
    return round(min(OLD_SHARE, there / (there + new)), 3) if there else 0.0


def _row(answers: Answers, trying: bool, cpu: bool) -> int:
    if trying or cpu:
        return 256 if cpu else 512
    return 1_024 if answers.base.shape.parameters < 0.5e9 else 4_096


def _batch(answers: Answers, tokens: int, row: int, trying: bool, cpu: bool) -> int:
    """Tokens a step: what the base's size wants, at least two hundred steps (thirty for a try, as
    the quickstart), whole rows for every device.
    """
    wanted = 32_768 if answers.base.shape.parameters < 0.5e9 else 524_288
    wanted = min(wanted, 512 if trying and cpu else 8_192 if trying or cpu else wanted)
    devices = answers.hardware.devices
    rows = max(min(wanted, tokens // (30 if trying else 200)) // (row * devices), 1)
    return int(2 ** (rows.bit_length() - 1)) * row * devices


def _rate(answers: Answers, trying: bool) -> float:
    return 3e-4 if answers.base.shape.parameters < 0.5e9 and not trying else 1e-4
