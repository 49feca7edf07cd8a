"""Which keys of `tokenizer:` fit each other."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from langraft.recipe.tokenizer import Tokenizer


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"method": "list"}, "needs pieces"),
        ({"pieces": "p.model"}, "read by list and union, not by continued-bpe"),
        ({"method": "union", "size": "auto"}, "size: auto is for continued-bpe"),
        ({"size": 10, "vocabulary": 55_296}, "give one"),
        ({"size": 0}, "greater than"),
        ({"unreachable": "maybe"}, "'keep' or 'drop'"),
    ],
)
def test_keys_that_do_not_fit(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Tokenizer(**keys)


def test_the_ways_of_2023() -> None:
    llama = Tokenizer(method="union", pieces="chinese_sp.model", vocabulary=49_953)
    assert (llama.vocabulary, llama.unreachable, llama.only_scripts) == (49_953, "drop", True)
    assert Tokenizer(method="characters", size=7_410).pieces is None
    assert Tokenizer(method="list", pieces="pieces.jsonl", pad_token="<pad>").proofs == "enforce"
