"""Every command of every page is one that the command line takes, and names files that exist."""

from __future__ import annotations

import re
import shlex

import pytest
from docs_blocks import PAGES, ROOT, Block, all_blocks, blocks_of
from docs_commands import langraft_words, make_lines, missing_files, refusal

BLOCKS = [block for block in all_blocks() if block.is_shell]
# Commands of the repository itself; all others must be marked as not run.
OURS = ("langraft", "make", "cp", "mkdir", ".")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_the_command_line_takes_it(block: Block) -> None:
    for words in block.commands:
        assert not missing_files(words), words
        if words[0] == "make":
            make_lines(words)
        elif (own := langraft_words(words)) is not None:
            assert not refusal(own), f"{words}: {refusal(own)}"


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_what_the_tests_cannot_run_is_marked(block: Block) -> None:
    """A block that is not run, as this test's skips say: how many there are, and why."""
    foreign = [w for w in block.commands if w[0].removeprefix(".venv/bin/") not in OURS]
    if reason := block.notes.get("not run"):
        pytest.skip(f"not run: {reason}")
    assert not foreign, f"{block.place}: mark it `<!-- not run: REASON -->`: {foreign}"


def inline_commands(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in blocks_of(page):
        text = text.replace(block.text, "")
    return re.findall(r"`((?:langraft|make) [^`]+)`", text)


@pytest.mark.parametrize("page", PAGES)
def test_commands_inside_sentences(page: str) -> None:
    """They may leave arguments out, but no verb or option may be one that is not there."""
    for command in inline_commands(page):
        words = ["1" if word == "N" else word for word in shlex.split(command)]
        if "..." in command or "…" in command or "|" in command:
            words = words[:2]
        if words[0] == "make":
            make_lines(words)
        else:
            assert not refusal(words[1:], whole=False), f"{command}: {refusal(words[1:])}"
