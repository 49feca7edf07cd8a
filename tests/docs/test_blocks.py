"""How pages are read: fences, comments, prompts, continued lines, variables."""

from __future__ import annotations

import pytest
from docs_blocks import blocks_of
from docs_commands import langraft_words, missing_files, refusal

PAGE = """\
Text.

<!-- file: a.yaml -->
```yaml
name: a
```

<!-- typed: hello | /quit -->

```console
$ langraft chat MODEL \\
    --seed 3
> hello
$ langraft run nothing.yaml
error: nothing.yaml: no such recipe
$ langraft export gguf MODEL --out x.gguf > log.txt && langraft chat x.gguf | tee y
```

<!-- not run: eight GPUs -->
```sh
P="--shots 5 --limit 2"   # don't stop here
langraft eval choice M --suite mmlu --data d#1 $P
```

```
just words
```
"""


def test_blocks_with_their_notes() -> None:
    file, typed, marked, words = blocks_of("page.md", PAGE)
    assert (file.language, file.text, file.notes) == ("yaml", "name: a\n", {"file": "a.yaml"})
    assert (typed.line, typed.notes) == (10, {"typed": "hello | /quit"})
    assert typed.commands == [
        ["langraft", "chat", "MODEL", "--seed", "3"],
        ["langraft", "run", "nothing.yaml"],
        ["langraft", "export", "gguf", "MODEL", "--out", "x.gguf"],
        ["langraft", "chat", "x.gguf"],
        ["tee", "y"],
    ]
    assert [fails for _, fails in typed.steps] == [False, True, False, False, False]
    assert marked.notes == {"not run": "eight GPUs"}
    line = "langraft eval choice M --suite mmlu --data d#1 --shots 5 --limit 2"
    assert marked.commands == [line.split()]
    assert words.commands == [] and words.notes == {}


def test_a_block_that_is_never_closed() -> None:
    with pytest.raises(ValueError, match=r"page\.md:1"):
        blocks_of("page.md", "```sh\nlangraft run x\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run recipes/quickstart-zh.yaml --out runs/a --set seed=3", ""),
        ("run recipes/quickstart-zh.yaml --output runs/a", "output"),
        ("runs recipes/quickstart-zh.yaml", "runs"),
        ("plan my.yaml --devices many", "valid integer"),
        ("tokenizer extend BASE", "Missing"),
        ("tokenizer lengthen BASE", "lengthen"),
    ],
)
def test_what_the_command_line_refuses(line: str, said: str) -> None:
    found = refusal(line.split())
    assert (said in found) if said else found == ""


def test_a_sentence_may_leave_arguments_out_but_not_options_wrong() -> None:
    assert refusal(["tokenizer", "extend"], whole=False) == ""
    assert refusal(["tokenizer"], whole=False) == ""
    assert "--sizes" in refusal(["tokenizer", "extend", "--sizes", "3"], whole=False)


def test_the_repository_has_the_files_that_are_named() -> None:
    words = ["langraft", "plan", "recipes/quickstart-zh.yaml", "data/*/en.jsonl.zst", "runs/x"]
    assert missing_files(words) == []
    assert missing_files(["recipes/nothing.yaml", "runs/x"]) == ["recipes/nothing.yaml"]


def test_ways_to_start_langraft() -> None:
    for start in ("langraft", ".venv/bin/langraft", "torchrun --nproc 8 -m langraft"):
        assert langraft_words([*start.split(), "run", "x.yaml"]) == ["run", "x.yaml"]
    assert langraft_words(["pip", "install", "x"]) is None
