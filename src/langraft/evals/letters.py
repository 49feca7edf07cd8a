"""Which token ids stand for a letter: asked of the tokenizer, never assumed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from langraft.core.errors import BadInput
from langraft.evals.protocols import Rule

# What a letter follows, and which id of the whole is the letter's: its first or its last. LLaMA-2
# writes "Answer: A" as [..., 319] and "答案：A" as [..., 29909].
CONTEXTS: Mapping[Rule, Sequence[tuple[str, int]]] = {
    "max": (("Answer: ", -1), ("答案：", -1)),
    "sum": (("", 0), ("：", -1)),
}


def letter_ids(
    encode: Callable[[str], list[int]], labels: str, rule: Rule
) -> dict[str, tuple[int, ...]]:
    """The two ids of every letter under `rule`; they may be the same id.

    Args:
        encode: a text to ids without special tokens.

    Raises:
        BadInput: two letters share an id, so this tokenizer cannot tell them apart.
    """
    found = {
        label: tuple(encode(f"{before}{label}")[at] for before, at in CONTEXTS[rule])
        for label in labels
    }
    owner: dict[int, str] = {}
    for label, ids in found.items():
        for token in ids:
            if owner.setdefault(token, label) != label:
                raise BadInput(
                    f"the tokenizer gives {label} and {owner[token]} the same id {token} after "
                    f"{[before for before, _ in CONTEXTS[rule]]}; use the protocol generate"
                )
    return found


def with_penalty(logit: float, read_before: bool, penalty: float, temperature: float) -> float:
    """A logit after the repetition penalty (Keskar et al., 1909.05858: positive ones are divided,
    negative ones multiplied, for tokens read before) and the temperature.
    """
    if read_before:
        logit = logit / penalty if logit > 0 else logit * penalty
    return logit / temperature
