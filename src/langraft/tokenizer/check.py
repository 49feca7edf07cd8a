"""The tokenizer contract: what an extension promises, and a counter-example where it breaks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from langraft.tokenizer.alphabet import completions, split_partial
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.tokenizer.sentencepiece_model import sentencepiece_ids

BATCH = 512
# Old text may hold this share of lines with characters of the new pieces before the proof is void.
MOST_MIXED = 0.05
# A piece is tried on a line of its own (the line break in front takes SentencePiece's dummy
# prefix), then between marks, brackets, letters and spaces.
CONTEXTS = (("\n", "\n"), ("，", "。"), ("(", ")"), ("a", "b"), (" ", " "))
HARD_TEXTS = (
    "",
    " ",
    "  two leading spaces",
    "double  space   triple",
    "trailing space ",
    "tab\tand\t\ttabs",
    "line\r\nbreaks\r\n\r\nof Windows\n",
    "emoji 😀👍🏽👨‍👩‍👧‍👦🇨🇳 and ❤️",
    "cafe\u0301 e\u0302\u0323 combining",
    "zero\u200bwidth\u200cjoin\u200der\ufeffmark",
    "right to left שלום עולם مرحبا\u200f",
    "हिन्दी ภาษาไทย 한국어 かな カナ",
    "中文 English 混排，数字123和４５６。",
    "「引号」、《书名》——……！？",
    "生僻字𠮷𪚥龘㐂 〇々",
    "\u0000\u0001\u007f\u0085 control",
    "math 𝒜𝔹 ∑∫≤ ½ ㎏ ﬁ",
    "﷽﷽﷽",
    "　全角空格　开头",
    "\ue000\U000f0000 private use",
)


@dataclasses.dataclass(frozen=True)
class Proof:
    """One promise.

    Attributes:
        name: what was promised.
        passed: whether no counter-example was found.
        checked: how many cases were tried.
        counterexample: the first case that fails, readable; "" when there is none.
        detail: what else the reader should know, for example cases left out and why.
    """

    name: str
    passed: bool
    checked: int
    counterexample: str = ""
    detail: str = ""


def check_tokenizer(
    base: Path, extended: Path, old_texts: Iterable[str], new_texts: Iterable[str]
) -> list[Proof]:
    """Try every promise of an extension.

    Args:
        base: the tokenizer before.
        extended: the tokenizer after.
        old_texts: text in the languages of the base. Lines that hold characters of the new pieces
            may change; they are counted, and more than MOST_MIXED of them fails the proof.
        new_texts: text in the new language.

    Returns:
        The proofs: base ids kept, no duplicate pieces, old text unchanged, pieces reachable,
        unfinished pieces reachable, round trip, and agreement with SentencePiece where the folder
        holds its model.
    """
    before, after = load_encoder(base), load_encoder(extended)
    texts = [*HARD_TEXTS, *new_texts]
    proofs = [
        _ids_kept(before, after),
        _no_duplicates(before, after),
        _unchanged(before, after, old_texts),
        _reachable(before, after),
        _unfinished_reachable(before, after),
        _round_trip(before, after, texts),
    ]
    return proofs if after.model is None else [*proofs, _agrees(after, texts)]


def _proof(name: str, checked: int, failures: Iterable[str], detail: str = "") -> Proof:
    first = next(iter(failures), "")
    return Proof(name, not first, checked, first, detail)


def _ids_kept(before: Encoder, after: Encoder) -> Proof:
    moved = (
        f"{piece!r} had id {index} and has {after.vocabulary.get(piece)}"
        for piece, index in before.vocabulary.items()
        if after.vocabulary.get(piece) != index
    )
    return _proof("every base piece keeps its id", len(before.vocabulary), moved)


def _no_duplicates(before: Encoder, after: Encoder) -> Proof:
    def failures() -> Iterator[str]:
        seen = {data: index for index, data in enumerate(before.bytes_by_id) if data}
        for index in range(before.size, after.size):
            data = after.piece_bytes(index)
            if not data:
                yield f"id {index} has no piece"
            elif data in seen:
                yield f"ids {seen[data]} and {index} both spell {after.piece_text(index)!r}"
            seen[data] = index

    name = "no added piece spells what another piece spells"
    return _proof(name, after.size - before.size, failures())


def _unchanged(before: Encoder, after: Encoder, texts: Iterable[str]) -> Proof:
    name = "old text is encoded as before"
    new = _new_characters(before, after)
    lines = mixed = 0
    for batch in _batches(line for text in texts for line in text.splitlines(keepends=True)):
        lines += len(batch)
        pairs = zip(batch, before.encode_batch(batch), after.encode_batch(batch), strict=True)
        for line, old, now in pairs:
            if old == now:
                continue
            if new is None or not new.search(line):
                return Proof(name, False, lines, _difference(line, old, now, before, after))
            mixed += 1
    detail = f"{mixed} lines hold characters of the added pieces and are not counted"
    if mixed > MOST_MIXED * lines:
        return Proof(name, False, lines, f"{detail}: too many of {lines} for old text", detail)
    return Proof(name, True, lines - mixed, detail=detail if mixed else "")


def _new_characters(before: Encoder, after: Encoder) -> re.Pattern[str] | None:
    """Any character that added pieces spell, or begin to spell."""
    found: set[str] = set()
    for index in range(before.size, after.size):
        parts = split_partial(after.piece_bytes(index))
        if parts is not None:
            found.update(parts[0].replace(" ", ""))
            found.update(_characters(parts[1]))
    return re.compile("[" + re.escape("".join(sorted(found))) + "]") if found else None


def _characters(prefix: bytes) -> list[str]:
    points = completions(prefix) if prefix else range(0)
    return [chr(point) for point in points if not 0xD800 <= point < 0xE000]


def _difference(
    text: str, old: Sequence[int], new: Sequence[int], before: Encoder, after: Encoder
) -> str:
    pairs = enumerate(zip(old, new, strict=False))
    place = next((n for n, (left, right) in pairs if left != right), min(len(old), len(new)))
    was = [before.piece_text(index) for index in old[place : place + 3]]
    now = [after.piece_text(index) for index in new[place : place + 3]]
    return f"token {place} of {text[:80]!r}: {was} before, {now} now"


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _whole_pieces(before: Encoder, after: Encoder) -> dict[int, str]:
    """Added ids whose pieces are whole characters, with their text."""
    found = {}
    for index in range(before.size, after.size):
        parts = split_partial(after.piece_bytes(index))
        if parts is not None and not parts[1]:
            found[index] = parts[0]
    return found


def _reachable(before: Encoder, after: Encoder) -> Proof:
    pieces = _whole_pieces(before, after)
    left, lines = dict(pieces), 0
    for front, back in CONTEXTS:
        encoded = after.encode_batch([front + text + back for text in left.values()])
        produced = [index for index, ids in zip(left, encoded, strict=True) if index in ids]
        lines = lines or len(produced)
        for index in produced:
            del left[index]
    failures = (
        f"id {index}, {text!r}, becomes {[after.piece_text(n) for n in after.encode(text)]}"
        for index, text in left.items()
    )
    inside = len(pieces) - len(left) - lines
    detail = f"{lines} on a line of their own, {inside} only inside a sentence"
    return _proof("every added piece can be produced", len(pieces), failures, detail)


def _unfinished_reachable(before: Encoder, after: Encoder) -> Proof:
    """Pieces that end inside a character occur in some character, or longer pieces need them."""
    whole = _whole_pieces(before, after)
    added = range(before.size, after.size)
    partial = [index for index in added if index not in whole and after.piece_bytes(index)]
    silent = [index for index in partial if not _produced(after, index)]
    needed = _parts(after) if silent else set()
    failures = [
        f"id {index}, bytes {after.piece_bytes(index).hex(' ')}"
        for index in silent
        if index not in needed
    ]
    building = len(silent) - len(failures)
    detail = f"{len(partial) - len(silent)} occur in text, {building} only build longer pieces"
    return _proof("every unfinished piece serves a character", len(partial), failures, detail)


def _parts(encoder: Encoder) -> set[int]:
    merges = encoder.definition["model"]["merges"]
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in merges)
    return {encoder.vocabulary[part] for pair in pairs for part in pair}


def _produced(encoder: Encoder, index: int) -> bool:
    parts = split_partial(encoder.piece_bytes(index))
    if parts is None:
        return False
    batch = [f"\n{parts[0]}{character}" for character in _characters(parts[1])]
    return any(index in ids for ids in encoder.encode_batch(batch))


def _round_trip(before: Encoder, after: Encoder, texts: Sequence[str]) -> Proof:
    """What the base itself does not give back (it normalises, or lacks a byte) is left out."""
    lost, failures = 0, []
    for batch in _batches(texts):
        for text, ids in zip(batch, after.encode_batch(batch), strict=True):
            if after.decode(ids) == text:
                continue
            if before.decode(before.encode(text)) == text:
                failures.append(f"{text[:80]!r} comes back as {after.decode(ids)[:80]!r}")
            else:
                lost += 1
    detail = f"{lost} texts left out that the base does not give back either" if lost else ""
    return _proof("text comes back as it went in", len(texts) - lost, failures, detail)


def _agrees(after: Encoder, texts: Sequence[str]) -> Proof:
    """Lines that spell a special token are left out: SentencePiece reads them as plain text."""
    lines = [
        line
        for text in texts
        for line in text.splitlines(keepends=True)
        if not any(token in line for token in after.added.values())
    ]
    ours, theirs = after.encode_batch(lines), sentencepiece_ids(after.model, lines)
    failures = (
        _difference(line, left, right, after, after)
        for line, left, right in zip(lines, theirs, ours, strict=True)
        if left != right
    )
    return _proof("tokenizer.json gives the ids of SentencePiece", len(lines), failures)
