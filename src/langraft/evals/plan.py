"""What one evaluation will do: every question with its prompt, and how it is scored."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Literal

from langraft.core.errors import BadInput
from langraft.evals.letters import letter_ids, with_penalty
from langraft.evals.memo import Memo
from langraft.evals.prompts import Prompt, Writer, fit
from langraft.evals.protocols import Protocol, protocol_of, wording_of
from langraft.evals.rows import Row, continuation_rows, encode_pair, letter_row, option_texts
from langraft.evals.suites import Exam, Question

# Their texts are encoded together.
ITEMS_AT_ONCE = 128
How = Literal["letters", "letters+text", "texts", "text"]


@dataclasses.dataclass(frozen=True)
class Item:
    """One question of the evaluation.

    Attributes:
        how: scored on letters, on letters or written text, on the options' texts, or on written
            text.
        fill: the options fill a gap, so each has a context of its own.
    """

    id: str
    writer: Writer
    question: Question
    prompt: Prompt
    how: How
    fill: bool = False

    @property
    def key(self) -> tuple[str, int]:
        """Items with equal keys begin with the same worked examples."""
        return self.writer.subject.key, self.prompt.shots


@dataclasses.dataclass(frozen=True)
class Plan:
    """All items, and those left out by reason."""

    items: tuple[Item, ...]
    left_out: dict[str, int]

    @property
    def shortened(self) -> int:
        """Items that lost worked examples to the window."""
        return sum(item.prompt.shots < len(item.writer.subject.shots) for item in self.items)

    @property
    def cut(self) -> int:
        """Items that lost words of their own."""
        return sum(item.prompt.cut for item in self.items)


def make_plan(exam: Exam, protocol_name: str, encode: Memo, window: int) -> Plan:
    """Write every prompt of `exam` under a protocol.

    Args:
        window: tokens the model may read.

    Raises:
        BadInput: the protocol has no wording for the suite, or no item can be scored under it.
    """
    protocol = protocol_of(protocol_name)
    items, left_out = [], Counter[str](exam.skipped)
    for subject in exam.subjects:
        wording = wording_of(protocol_name, exam.suite, subject.key)
        writer = Writer(exam.suite, subject, wording, protocol.strip)
        if wording.form != "fill":
            shown = len(subject.shots)
            encode.fill((writer.prompt(q, shown) for q in subject.questions), True)
        for number, question in enumerate(subject.questions):
            how = how_scored(protocol, writer, question)
            if how is None:
                left_out["several right letters, which only colossal and generate score"] += 1
                continue
            reserve = _reserve(how, subject.new_tokens or protocol.new_tokens, question, encode)
            if reserve >= window:
                raise BadInput(f"window: {window} tokens hold no question and its answer")
            if wording.form == "fill":
                prompt = _fill_prompt(writer, question, encode, window)
            else:
                prompt = fit(writer, question, lambda text: encode(text, True), window - reserve)
            name = f"{subject.key}/{number}"
            items.append(Item(name, writer, question, prompt, how, wording.form == "fill"))
    if not items:
        raise BadInput(
            f"{exam.suite}: no item can be scored under {protocol_name}: {dict(left_out)}"
        )
    return Plan(tuple(items), dict(left_out))


def _reserve(how: How, new_tokens: int, question: Question, encode: Memo) -> int:
    """Tokens of the window that the answer needs."""
    if how in ("text", "letters+text"):
        return new_tokens
    if how == "texts":
        return max(len(encode(f" {option}", False)) for option in question.options) + 1
    return 1


def _fill_prompt(writer: Writer, question: Question, encode: Memo, window: int) -> Prompt:
    """The worked examples alone; each option writes its own context behind them."""
    longest = max(question.options, key=len)
    whole = dataclasses.replace(question, text=question.text.replace("_", longest, 1))
    found = fit(writer, whole, lambda text: encode(text, True), window - 4)
    text = "".join(
        writer.worked(s) + writer.wording.join for s in writer.subject.shots[: found.shots]
    )
    return Prompt(text, (), found.shots, found.cut)


def how_scored(protocol: Protocol, writer: Writer, question: Question) -> How | None:
    """How a protocol scores a question, or None when it cannot."""
    form, key = writer.wording.form, writer.subject.key
    if form in ("texts", "fill"):
        return "texts"
    if form == "open" or not question.answers or protocol.rule == "generate":
        return "text"
    if key in protocol.several:
        return "text"
    if not question.single:
        return None
    return "letters+text" if key in protocol.combined else "letters"


def all_rows(plan: Plan, protocol: Protocol, encode: Memo) -> dict[int, list[Row]]:
    """`rows_of` every item, by its number."""
    found = {}
    for start in range(0, len(plan.items), ITEMS_AT_ONCE):
        part = plan.items[start : start + ITEMS_AT_ONCE]
        pairs = [pair for item in part for pair in _pairs(item, protocol)]
        encode.fill((text for pair in pairs for text in ("".join(pair), pair[0].rstrip())), True)
        for number, item in enumerate(part, start):
            found[number] = rows_of(number, item, protocol, encode)
    return found


def _pairs(item: Item, protocol: Protocol) -> list[tuple[str, str]]:
    """(context, continuation) texts whose likelihood scores an item; none where logits or written
    text do.
    """
    if item.how == "text" or (item.how != "texts" and protocol.rule != "likelihood"):
        return []
    if item.how == "texts":
        pairs = option_texts(item.question, item.fill)
    else:
        pairs = [("", f" {letter}") for letter in item.question.labels]
    return [(item.prompt.text + before, after) for before, after in pairs]


def rows_of(number: int, item: Item, protocol: Protocol, encode: Memo) -> list[Row]:
    """The rows that score an item on letters or on the options' texts; none for written answers.

    Raises:
        BadInput: the tokenizer cannot tell the letters apart.
    """
    if item.how == "text":
        return []
    if item.how.startswith("letters") and protocol.rule in ("max", "sum"):
        ids = letter_ids(lambda text: encode(text, False), item.question.labels, protocol.rule)
        return letter_row(number, item.prompt.ids, ids)
    pairs = _pairs(item, protocol)
    if item.prompt.cut and not item.fill:  # its text is longer than its ids
        tails = [encode(after, False) for _, after in pairs]
        return continuation_rows(number, [(item.prompt.ids, tail) for tail in tails])
    return continuation_rows(
        number, [encode_pair(lambda t: encode(t, True), before, after) for before, after in pairs]
    )


def slot_values(
    item: Item, protocol: Protocol, rows: Sequence[Row], opinions: Sequence[Sequence[float]]
) -> list[float]:
    """One score a label from the opinions of an item's rows, in the labels' order."""
    slots: dict[int, float] = {}
    read = set(item.prompt.ids) if protocol.penalty != 1 else set()
    for row, values in zip(rows, opinions, strict=True):
        for ask, value in zip(row.asks, values, strict=True):
            if protocol.rule in ("max", "sum"):
                value = with_penalty(
                    value, ask.token in read, protocol.penalty, protocol.temperature
                )
            slots[ask.slot] = slots.get(ask.slot, 0.0) + value
    plain = [slots[slot] for slot in sorted(slots)]
    if item.how == "texts" or protocol.rule == "likelihood":
        return plain
    join = max if protocol.rule == "max" else sum
    return [join(plain[at : at + 2]) for at in range(0, len(plain), 2)]
