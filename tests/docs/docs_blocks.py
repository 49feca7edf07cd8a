"""The fenced blocks of the pages, and the commands in them.

A comment on the line before a block says what a reader must know to run it:

    <!-- file: my.yaml -->       the block is what the reader writes into this file
    <!-- typed: Hello | /quit --> what is typed to the block's last command, a line each
    <!-- not run: REASON -->     nothing here can run it; it is counted, and still parsed
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    if path.name != "CHANGELOG.md"
)
FENCE = re.compile(r"^ *(```+)(.*)$")
COMMENT = re.compile(r"^ *<!-- (file|typed|not run): (.+) -->$")
SHELLS = {"sh", "bash", "console", "shell"}
# What begins a line of commands in a block that names no language.
PROGRAMS = (
    *("langraft", "make", "python", "python3", "pip", "torchrun", "sbatch", "docker", "ollama"),
    *("git", "private-gpt", "$"),
)
ENDS = {"|", "&&", "||", ";", ">", ">>", "<", "&", "2>"}


@dataclasses.dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page, line: where it begins.
        language: what stands behind the fence.
        text: what is inside.
        notes: what the comments before it say, by kind.
    """

    page: str
    line: int
    language: str
    text: str
    notes: dict[str, str]

    @property
    def place(self) -> str:
        """Page and line, for people."""
        return f"{self.page}:{self.line}"

    @property
    def is_shell(self) -> bool:
        """Whether it holds commands: by its language, or where it names none, by its first word."""
        first = (self.text.split() or [""])[0]
        return self.language in SHELLS or (not self.language and first in PROGRAMS)

    @property
    def commands(self) -> list[list[str]]:
        """The words of every command; shell variables are filled in, outputs left out."""
        return [words for words, _ in self.steps]

    @property
    def steps(self) -> list[tuple[list[str], bool]]:
        """Every command, and whether the page shows an error as its answer."""
        return list(_commands(self))


def blocks_of(page: str, text: str | None = None) -> list[Block]:
    """The blocks of a page, in order.

    Raises:
        ValueError: a block is never closed.
    """
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines() if text is None else text
    lines = lines.splitlines() if isinstance(lines, str) else lines
    found, notes, start = [], {}, 0
    fence, language, inside = "", "", []
    for number, line in enumerate(lines, 1):
        if fence:
            if line.strip() == fence:
                found.append(Block(page, start, language, "\n".join(inside) + "\n", notes))
                fence, notes = "", {}
            else:
                inside.append(line)
        elif opened := FENCE.match(line):
            fence, language, inside, start = opened[1], opened[2].strip(), [], number
        elif comment := COMMENT.match(line):
            notes = notes | {comment[1]: comment[2]}
        elif line.strip():
            notes = {}
    if fence:
        raise ValueError(f"{page}:{start}: the block is not closed")
    return found


def all_blocks() -> list[Block]:
    """The blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page)]


def _commands(block: Block) -> Iterator[tuple[list[str], bool]]:
    lines = re.sub(r"\\\n\s*", " ", block.text).splitlines()
    prompted = any(line.startswith("$ ") for line in lines)
    if not block.is_shell:
        return
    variables: dict[str, str] = {}
    for line, answered in zip(lines, [*lines[1:], ""], strict=True):
        if prompted and not line.startswith("$ "):
            continue
        # a comment begins a word: `http://host/v1#model` is one word
        words = shlex.split(re.sub(r"(^|\s)#.*", "", line.removeprefix("$ ")))
        for part in _parts(words):
            if assigned := re.fullmatch(r"([A-Z]+)=(.*)", part[0]):
                variables[assigned[1]] = assigned[2]
                part = part[1:]
            filled = [w for word in part for w in _fill(word, variables)]
            if filled:
                yield filled, answered.startswith("error:")


def _parts(words: list[str]) -> Iterator[list[str]]:
    """The commands of one line, cut at what joins them; where output goes is left out."""
    part: list[str] = []
    redirected = False
    for word in words:
        if word in ENDS:
            if part and not redirected:
                yield part
            part, redirected = [], word in {">", ">>", "<", "2>"}
        else:
            part.append(word)
    if part and not redirected:
        yield part


def _fill(word: str, variables: dict[str, str]) -> list[str]:
    if word[:1] == "$" and word[1:] in variables:
        return shlex.split(variables[word[1:]])
    return [word]
