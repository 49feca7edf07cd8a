"""A bilingual word list: what each new piece means in words that the base knows.

Two formats: CC-CEDICT (`傳統 传统 [chuan2 tong3] /tradition/traditional/`) and lines of
`word<TAB>translation; translation`. Lines that begin with `#` are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.tokenizer.encoder import Encoder

CEDICT = re.compile(r"^(\S+) (\S+) \[[^\]]*\] /(.*)/\s*$")
ASIDE = re.compile(r"\([^)]*\)|\[[^\]]*\]")
NO_TRANSLATION = re.compile(r"^(CL:|see |also |variant |old variant|surname |abbr\. |used in )")
SENSES = 3
WORDS = 3


def read_words(path: Path) -> dict[str, list[str]]:
    """Each word with at most SENSES translations, in the order of the file.

    A translation loses what stands in brackets and a leading `to `; one of more than WORDS words,
    and a remark that is none (`CL:`, `surname ...`), is left out.

    Raises:
        BadInput: no such file, or a line in neither format.
    """
    found: dict[str, list[str]] = {}
    for word, senses in _entries(path):
        kept = found.setdefault(word, [])
        for sense in senses:
            plain = " ".join(ASIDE.sub(" ", sense).split()).removeprefix("to ")
            remark = NO_TRANSLATION.match(sense)
            if plain and not remark and len(plain.split()) <= WORDS and plain not in kept:
                kept.append(plain)
    return {word: senses[:SENSES] for word, senses in found.items() if senses}


def _entries(path: Path) -> Iterator[tuple[str, list[str]]]:
    with open_binary(path) as stream:
        content = stream.read()
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: a word list must be UTF-8 ({error.reason})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        entry = CEDICT.match(line)
        if entry is not None:
            senses = re.split(r"[/;]", entry[3])
            for word in dict.fromkeys((entry[2], entry[1])):
                yield word, senses
        elif "\t" in line:
            word, _, rest = line.partition("\t")
            yield word.strip(), rest.split(";")
        else:
            raise BadInput(
                f"{path}:{number}: neither `word<TAB>translation; translation` nor a line of "
                f"CC-CEDICT: {line[:60]!r}"
            )


def translations(
    words: dict[str, list[str]], base: Encoder, extended: Encoder
) -> tuple[list[list[list[int]]], int]:
    """For every new piece the base ids that spell each of its translations as a word in mid-text,
    and how many pieces have one.
    """
    found: list[list[list[int]]] = []
    for index in range(base.size, extended.size):
        senses: Sequence[str] = words.get(extended.piece_text(index).strip(), ())
        spelt = [
            [token for word in sense.split() for token in base.spell(f" {word}".encode())]
            for sense in senses
        ]
        found.append([ids for ids in spelt if ids])
    return found, sum(bool(senses) for senses in found)
