"""What an extension promises, one function a promise, and a counter-example where it breaks."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import regex

from langraft.core.errors import BadInput
from langraft.tokenizer.alphabet import completions, split_partial
from langraft.tokenizer.encoder import Encoder

BATCH = 512
# Old text may hold this share of lines with characters of the new pieces before the proof is void.
MOST_MIXED = 0.05
# A piece is tried on a line of its own (the line break in front takes SentencePiece's dummy
# prefix), then between marks, brackets, letters and spaces.
CONTEXTS = (("\n", "\n"), ("，", "。"), ("(", ")"), ("a", "b"), (" ", " "))
SHOWN = 4  # pieces named beside their number
GOLDEN_MARK = "__ggml_vocab_test__"
NOT_SHARED = regex.compile(r"(?V1)[^\p{Script=Latin}\p{ASCII}]")
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


def _proof(name: str, checked: int, failures: Iterable[str], detail: str = "") -> Proof:
    first = next(iter(failures), "")
    return Proof(name, not first, checked, first, detail)


def ids_kept(before: Encoder, after: Encoder) -> Proof:
    """Every piece of the base has the id it had."""
    moved = (
        f"{piece!r} had id {index} and has {after.vocabulary.get(piece)}"
        for piece, index in before.vocabulary.items()
        if after.vocabulary.get(piece) != index
    )
    return _proof("every base piece keeps its id", len(before.vocabulary), moved)


def no_duplicates(before: Encoder, after: Encoder) -> Proof:
    """No two ids spell the same bytes."""

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


def unchanged(before: Encoder, after: Encoder, texts: Iterable[str]) -> Proof:
    """Lines without new characters are encoded as by the base."""
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
                return Proof(name, False, lines, difference(line, old, now, before, after))
            mixed += 1
    detail = f"{mixed} lines hold characters of the added pieces and are not counted"
    if mixed > MOST_MIXED * lines:
        return Proof(name, False, lines, f"{detail}: too many of {lines} for old text", detail)
    return Proof(name, True, lines - mixed, detail=detail if mixed else "")


def golden(
    before: Encoder, after: Encoder, texts: Sequence[str], wanted: Sequence[Sequence[int]]
) -> Proof:
    """Published encodings hold: of all texts for the base, of those without new characters for the
    extension.
    """
    new = _new_characters(before, after)
    old = [n for n, text in enumerate(texts) if new is None or not new.search(text)]

    def failures() -> Iterator[str]:
        for encoder, places in ((before, range(len(texts))), (after, old)):
            found = encoder.encode_batch([texts[n] for n in places])
            for place, ids in zip(places, found, strict=True):
                if ids != list(wanted[place]):
                    yield f"{encoder.path}: {texts[place]!r} is {ids}, published is {wanted[place]}"

    detail = f"{len(texts)} by the base, {len(old)} without new characters by the extension"
    return _proof("published encodings hold", len(texts) + len(old), failures(), detail)


def read_golden(path: Path) -> tuple[list[str], list[list[int]]]:
    """Texts in llama.cpp's form `NAME.inp`, apart by a line `__ggml_vocab_test__`, and their ids in
    `NAME.out`, one line each.

    Raises:
        BadInput: a file is missing, or they are not of one length.
    """
    answers = path.with_suffix(".out")
    try:
        texts = path.read_bytes().decode().split(f"\n{GOLDEN_MARK}\n")
        lines = answers.read_text().split("\n")
        wanted = [[int(index) for index in line.split()] for line in lines]
    except FileNotFoundError as error:
        raise BadInput(
            f"{error.filename}: no such file; NAME.inp and NAME.out belong together"
        ) from error
    except ValueError as error:
        raise BadInput(f"{answers}: not lines of ids ({error})") from error
    if len(texts) != len(wanted):
        raise BadInput(f"{path}: {len(texts)} texts, but {answers.name} has {len(wanted)} lines")
    return texts, wanted


def _new_characters(before: Encoder, after: Encoder) -> re.Pattern[str] | None:
    """Any character of another script than Latin that added pieces spell, or begin to spell; of a
    piece that has none, all its characters.
    """
    found: set[str] = set()
    for index in range(before.size, after.size):
        parts = split_partial(after.piece_bytes(index))
        if parts is not None:
            own = NOT_SHARED.findall(parts[0])
            found.update(own or ([] if parts[1] else parts[0].replace(" ", "")))
            found.update(_characters(parts[1]))
    return re.compile("[" + re.escape("".join(sorted(found))) + "]") if found else None


def _characters(prefix: bytes) -> list[str]:
    points = completions(prefix) if prefix else range(0)
    return [chr(point) for point in points if not 0xD800 <= point < 0xE000]


def difference(
    text: str, old: Sequence[int], new: Sequence[int], before: Encoder, after: Encoder
) -> str:
    """Where two encodings of `text` part, with the pieces there."""
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


@dataclasses.dataclass(frozen=True)
class Reach:
    """Where added pieces of whole characters come up.

    Attributes:
        tried: how many there are; first: how many come up at the start of a text; line: on a line
            of their own; inside: only inside a sentence; silent: ids that no context produces.
    """

    tried: int
    first: int
    line: int
    inside: int
    silent: list[int]


def reachable(before: Encoder, after: Encoder) -> Reach:
    """Try every added piece of whole characters at the start of a text and in CONTEXTS."""
    pieces = _whole_pieces(before, after)
    starts = after.encode_batch(list(pieces.values()))
    first = sum(index in ids for index, ids in zip(pieces, starts, strict=True))
    left, lines = dict(pieces), 0
    for number, (front, back) in enumerate(CONTEXTS):
        encoded = after.encode_batch([front + text + back for text in left.values()])
        produced = [index for index, ids in zip(left, encoded, strict=True) if index in ids]
        lines = len(produced) if number == 0 else lines
        for index in produced:
            del left[index]
    return Reach(len(pieces), first, lines, len(pieces) - len(left) - lines, list(left))


def prove_reachable(before: Encoder, after: Encoder) -> Proof:
    """Every added piece of whole characters is produced in some context."""
    found = reachable(before, after)
    texts = ((index, after.piece_text(index)) for index in found.silent)
    failures = [
        f"id {index}, {text!r}, becomes {[after.piece_text(n) for n in after.encode(text)]}"
        for index, text in texts
    ]
    detail = f"{found.line} on a line of their own, {found.inside} only inside a sentence"
    detail += f"; {found.first} at the start of a text"
    if failures:
        names = [repr(after.piece_text(index)) for index in found.silent[:SHOWN]]
        detail += f"; {len(failures)} never: {', '.join(names)}, ..."
    return _proof("every added piece can be produced", found.tried, failures, detail)


def unfinished_reachable(before: Encoder, after: Encoder) -> Proof:
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


def round_trip(before: Encoder, after: Encoder, texts: Sequence[str]) -> Proof:
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
