"""The tokenizer contract, whole: our own proofs, and what three other programs say to the text."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from langraft.core.errors import RunFailed
from langraft.core.io import write_json
from langraft.tokenizer import llama_cpp
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.tokenizer.proofs import (
    HARD_TEXTS,
    Proof,
    difference,
    golden,
    ids_kept,
    no_duplicates,
    prove_reachable,
    read_golden,
    round_trip,
    unchanged,
    unfinished_reachable,
)
from langraft.tokenizer.sentencepiece_model import sentencepiece_ids

__all__ = ["HARD_TEXTS", "Proof", "check_tokenizer", "referees", "usage"]

Ids = list[list[int]]
# Uses of a piece in the text, as the table of frequencies groups them.
GROUPS = (0, 1, 10, 100, 1_000, 10_000)


def check_tokenizer(
    base: Path,
    extended: Path,
    old_texts: Iterable[str],
    new_texts: Iterable[str],
    published: Sequence[Path] = (),
) -> list[Proof]:
    """Try every promise of an extension.

    Args:
        base: the tokenizer before.
        extended: the tokenizer after.
        old_texts: text in the languages of the base. Lines that hold characters of the new pieces
            may change; they are counted, and more than a twentieth of them fails the proof.
        new_texts: text in the new language.
        published: files of encodings that the base is known to give; see `read_golden`.

    Returns:
        The proofs: base ids kept, no duplicate pieces, old text unchanged, pieces reachable,
        unfinished pieces reachable, round trip, what `referees` says, and published encodings.
    """
    before, after = load_encoder(base), load_encoder(extended)
    texts = [*HARD_TEXTS, *new_texts]
    return [
        ids_kept(before, after),
        no_duplicates(before, after),
        unchanged(before, after, old_texts),
        prove_reachable(before, after),
        unfinished_reachable(before, after),
        round_trip(before, after, texts),
        *referees(after, texts),
        *(golden(before, after, *read_golden(path)) for path in published),
    ]


def referees(encoder: Encoder, texts: Sequence[str]) -> list[Proof]:
    """Whether SentencePiece, transformers and llama.cpp give our ids, line by line.

    Lines that spell a special token are left out: SentencePiece reads them as plain text. A referee
    that cannot be asked gives a proof of nothing that says why.
    """
    found = [line for text in texts for line in text.splitlines(keepends=True)]
    lines = [line for line in found if not any(token in line for token in encoder.added.values())]
    ours = encoder.encode_batch(lines)
    asked: list[tuple[str, Callable[[], Ids], str]] = []
    if encoder.processor is not None:
        asked.append(("merging by rank", lambda: encoder.encode_by_merges(lines), ""))
    elif encoder.model is not None:
        asked.append(("SentencePiece", lambda: sentencepiece_ids(encoder.model, lines), ""))
    loadable = "" if _loads_in_transformers(encoder.path) else "not asked: it reads no such file"
    asked.append(("transformers", lambda: transformers_ids(encoder.path, lines), loadable))
    reason = llama_cpp.why_not(encoder)
    asked.append(("llama.cpp", lambda: llama_cpp.llama_cpp_ids(encoder, lines), reason))
    return [
        Proof(_title(name), True, 0, detail=reason)
        if reason
        else _agreement(_title(name), encoder, lines, ours, ask)
        for name, ask, reason in asked
    ]


def _title(name: str) -> str:
    return f"{name} gives the same ids"


def _agreement(
    name: str, encoder: Encoder, lines: list[str], ours: Ids, ask: Callable[[], Ids]
) -> Proof:
    """Names the first line where the other's ids differ, and counts all of them."""
    try:
        theirs = ask()
    except RunFailed as refusal:
        return Proof(name, False, 0, str(refusal))
    apart = [n for n, (one, two) in enumerate(zip(ours, theirs, strict=True)) if one != two]
    if not apart:
        return Proof(name, True, len(lines))
    first = apart[0]
    shown = difference(lines[first], theirs[first], ours[first], encoder, encoder)
    return Proof(name, False, len(lines), shown, f"{len(apart):,} of {len(lines):,} lines differ")


def _loads_in_transformers(path: Path) -> bool:
    return path.is_dir() or path.suffix in (".model", ".json")


def transformers_ids(path: Path, lines: Sequence[str]) -> Ids:
    """What transformers' AutoTokenizer gives for a folder, or for a bare file under its usual name.

    A bare `tokenizer.model` is read as LLaMA's, which is how the models of 2023 were published.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        from transformers import AutoTokenizer

        if path.is_file():
            shutil.copyfile(path, Path(folder) / f"tokenizer{path.suffix}")
            kind = "LlamaTokenizer" if path.suffix == ".model" else "PreTrainedTokenizerFast"
            write_json(Path(folder) / "tokenizer_config.json", {"tokenizer_class": kind})
        read: Any = AutoTokenizer.from_pretrained(path if path.is_dir() else folder)
        return [list(ids) for ids in read(list(lines), add_special_tokens=False)["input_ids"]]


def usage(base: Path, extended: Path, texts: Iterable[str]) -> dict[str, Any]:
    """How often the added pieces occur in `texts`: best a text they were not learnt from.

    Returns:
        pieces, never (pieces that do not occur), tokens, share (of all tokens that are added
        pieces), groups (how many pieces occur at least so often, by GROUPS), most, least: the most
        and least frequent of those that occur, as (piece, uses).
    """
    before, after = load_encoder(base), load_encoder(extended)
    counts = [0] * after.size
    for ids in after.encode_batch(list(texts)):
        for index in ids:
            counts[index] += 1
    new = counts[before.size :]
    ranked = sorted(range(len(new)), key=lambda n: (-new[n], n))
    used = [n for n in ranked if new[n]]
    named = [(after.piece_text(before.size + n), new[n]) for n in used]
    limits = [*GROUPS[1:], max(counts, default=0) + 1]
    groups = {
        f"{low:,}": sum(low <= count < high for count in new)
        for low, high in zip(GROUPS, limits, strict=True)
    }
    return {
        "pieces": len(new),
        "never": len(new) - len(used),
        "tokens": sum(counts),
        "share": sum(new) / sum(counts) if sum(counts) else 0.0,
        "groups": groups,
        "most": named[:10],
        "least": named[-10:],
    }
