"""The export test: a GGUF file against the folder it was made from, through llama.cpp itself."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader

from langraft.checkpoint.folder import load_model, load_tokenizer
from langraft.core.errors import BadInput, RunFailed
from langraft.core.messages import say, track
from langraft.export.llamacpp import LlamaCpp
from langraft.export.types import EXACT, MIXES
from langraft.tokenizer.encoder import Encoder, load_encoder

LINES, SEED, TOP_1 = 1_000, 17, 0.99
PASSAGES, PASSAGE_TOKENS, PIECES_A_LINE, GENERATED = 8, 128, 12, 24
START_TOKENS = 32
HARD_LINES = (
    " leading and  double   spaces, and a trailing one ",
    "tabs\tand\t\ttabs",
    "1234567890 3.14159 1,000,000 2026-11-21 0xFF",
    "中文和 English 混排，全角标点。第1条：１２３",
    "繁體中文與简体中文",
    "emoji 👍🏽👨‍👩‍👧 and flags 🇨🇳🇫🇷",
    "naïve café Straße Ελλάδα Привет مرحبا नमस्ते 한국어 日本語",
    "def f(x):\n    return x**2  # code\n\n\nprint(f(3))",
    "don't they'll we've I'M IT'S",
    "http://example.org/a?b=c&d=%20#e",
    "\N{REPLACEMENT CHARACTER}\u200b\u00a0\u3000mixed spaces\u2028end",
    "<s> </s> <|im_end|> [PAD0] <0x41>",
)


@dataclasses.dataclass(frozen=True)
class Parity:
    """What the comparison found.

    Attributes:
        lines, same_lines: compared texts, and those with identical ids.
        transformers_lines: those whose ids transformers' AutoTokenizer gives as well.
        counterexample: the first text that differs, with both lists of ids; None when all agree.
        positions, top_1: compared positions, and the share with the same most likely id.
        mean_kl: mean of KL(folder || file) over positions, in nats.
        max_difference: the largest absolute difference of two logits.
        logit_deviation: the standard deviation of the folder's logits, to read it by.
        passage_same: of GENERATED greedy tokens after one passage, those before the first
            difference.
        passage_gap: how much the folder's choice led there, in logits; a small lead is a tie.
        passage: the text that the file generated.
    """

    lines: int
    same_lines: int
    transformers_lines: int
    counterexample: dict[str, Any] | None
    positions: int
    top_1: float
    mean_kl: float
    max_difference: float
    logit_deviation: float
    passage_same: int
    passage_gap: float | None
    passage: str

    @property
    def greedy(self) -> str:
        """How far the greedy tokens agree, and the lead at the first that does not."""
        lead = "" if self.passage_gap is None else f" (a lead of {self.passage_gap:.4f} there)"
        return f"{self.passage_same}/{GENERATED}{lead}"


def mixed_lines(encoder: Encoder, texts: Sequence[str], count: int = LINES) -> list[str]:
    """`count` lines: hard ones, lines of `texts`, and the rest pieces of the vocabulary itself,
    drawn evenly, so that added pieces are met whatever the texts are.
    """
    draw = random.Random(SEED)
    given = [line for text in texts for line in text.splitlines() if line.strip()]
    draw.shuffle(given)
    lines = [*HARD_LINES, *given[: (count - len(HARD_LINES)) // 2]]
    known = [
        encoder.piece_text(index)
        for index in range(encoder.size)
        if index not in encoder.special_ids
    ]
    whole = [piece for piece in known if piece and "\N{REPLACEMENT CHARACTER}" not in piece]
    while len(lines) < count:
        lines.append("".join(draw.choices(whole, k=PIECES_A_LINE)))
    return lines[:count]


def check_export(model: Path, file: Path, kind: str, texts: Sequence[str] = ()) -> Parity:
    """Compare the GGUF `file` with the folder `model`.

    Args:
        kind: the file's type; the float types must agree in TOP_1 of the positions.
        texts: real text for lines and passages; without any, the vocabulary's own pieces serve.

    Raises:
        BadInput: one of the two cannot be loaded.
        RunFailed: a line has other ids, or a float file disagrees too often.
    """
    encoder = load_encoder(model)
    lines = mixed_lines(encoder, texts)
    with LlamaCpp(file) as engine:
        same = _compare_ids(model, encoder, engine, lines)
        found = Parity(**same, **_compare_logits(model, encoder, engine, lines, texts))
    _report(found, kind)
    if found.counterexample is not None:
        raise RunFailed(
            f"{file}: {found.lines - found.same_lines} of {found.lines} lines have other ids than "
            f"in {model}; the first: {found.counterexample}"
        )
    if kind in EXACT and found.top_1 < TOP_1:
        raise RunFailed(
            f"{file}: the most likely token agrees with {model} in {found.top_1:.2%} of "
            f"{found.positions} positions, {TOP_1:.0%} is the least for {kind}"
        )
    return found


def type_of_file(file: Path) -> str:
    """The name of a file's type, as `--type` takes it; "" for one that we do not write.

    Raises:
        BadInput: not a GGUF file.
    """
    if not file.is_file():
        raise BadInput(f"{file}: no such file")
    try:
        field = GGUFReader(file).fields.get("general.file_type")
    except ValueError as error:
        raise BadInput(f"{file}: not a GGUF file ({error})") from error
    number = None if field is None else field.contents()
    return next((name for name, mix in MIXES.items() if mix.file_type == number), "")


def _report(found: Parity, kind: str) -> None:
    say(
        f"parity ({kind}): same ids {found.same_lines}/{found.lines} "
        f"(transformers {found.transformers_lines}), top-1 {found.top_1:.2%} of "
        f"{found.positions}, KL {found.mean_kl:.2e}, greedy {found.greedy}"
    )


def _compare_ids(
    model: Path, encoder: Encoder, engine: LlamaCpp, lines: Sequence[str]
) -> dict[str, Any]:
    """Special tokens written in a text are text for llama.cpp's plain reading and tokens for
    transformers, so lines that spell one are compared without them.
    """
    spelt = [text for text in encoder.added.values() if text]
    plain = []
    for line in lines:
        for text in spelt:
            line = line.replace(text, "")
        plain.append(line)
    theirs = load_tokenizer(model)(plain, add_special_tokens=False)["input_ids"]
    same = agreeing = 0
    example = None
    for line, ids, auto in zip(plain, encoder.encode_batch(plain), theirs, strict=True):
        found = engine.ids(line)
        same += found == ids
        agreeing += auto == ids
        if found != ids and example is None:
            example = {"text": line, "folder": ids, "file": found}
    return {
        "lines": len(plain),
        "same_lines": same,
        "transformers_lines": agreeing,
        "counterexample": example,
    }


def _compare_logits(
    model: Path, encoder: Encoder, engine: LlamaCpp, lines: Sequence[str], texts: Sequence[str]
) -> dict[str, Any]:
    loaded = load_model(model, torch.float32)
    passages = _passages(encoder, lines, texts)
    agreed = positions = 0
    divergence, largest, spread = 0.0, 0.0, []
    with torch.inference_mode():
        for ids in track(passages, "comparing logits", len(passages), "passages"):
            ours = loaded(torch.tensor([ids])).logits[0]
            file = torch.from_numpy(engine.logits(ids))[:, : ours.shape[1]]
            agreed += int((ours.argmax(-1) == file.argmax(-1)).sum())
            log_p, log_q = ours.log_softmax(-1), file.log_softmax(-1)
            divergence += float((log_p.exp() * (log_p - log_q)).sum())
            largest = max(largest, float((ours - file).abs().max()))
            spread.append(float(ours.std()))
            positions += len(ids)
        start = passages[0][:START_TOKENS]
        mine, gaps = _greedy(loaded, start)
    theirs = engine.greedy(start, GENERATED)
    agreeing = next((n for n, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b), None)
    return {
        "positions": positions,
        "top_1": agreed / positions,
        "mean_kl": divergence / positions,
        "max_difference": largest,
        "logit_deviation": float(np.mean(spread)),
        "passage_same": GENERATED if agreeing is None else agreeing,
        "passage_gap": None if agreeing is None else gaps[agreeing],
        "passage": encoder.decode([i for i in theirs if i < encoder.size]),
    }


def _greedy(model: Any, ids: list[int]) -> tuple[list[int], list[float]]:
    """The most likely ids after `ids`, and by how much each beat the next."""
    step, cache = torch.tensor([ids]), None
    found: list[int] = []
    gaps: list[float] = []
    for _ in range(GENERATED):
        output = model(step, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        best = output.logits[0, -1].topk(2)
        found.append(int(best.indices[0]))
        gaps.append(float(best.values[0] - best.values[1]))
        step = torch.tensor([found[-1:]])
    return found, gaps


def _passages(encoder: Encoder, lines: Sequence[str], texts: Sequence[str]) -> list[list[int]]:
    """PASSAGES lists of ids: from the texts when there are enough, else from the lines."""
    draw = random.Random(SEED)
    chosen = (
        list(texts)
        if len(texts) >= PASSAGES
        else ["\n".join(lines[i::PASSAGES]) for i in range(PASSAGES)]
    )
    draw.shuffle(chosen)
    ids = [encoder.encode(text[:4000])[:PASSAGE_TOKENS] for text in chosen]
    return [passage for passage in ids if passage][:PASSAGES]
