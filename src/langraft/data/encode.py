"""Rendered conversations as token ids, with what is learnt marked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jinja2
import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from langraft.core.errors import BadInput
from langraft.data.conversations import ASSISTANT, Message
from langraft.data.templates import (
    OWN,
    Piece,
    check_tokens,
    jinja_of,
    render,
    split_history,
    template_named,
)


class Encoded(NamedTuple):
    """One rendered conversation: ids, shape (T,), and whether each is learnt, shape (T,)."""

    ids: NDArray[np.int64]
    learnt: NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class Exchange:
    """What is given to the model and what it learns to answer, behind `anchor`, which is the end
    of the exchange before.
    """

    anchor: str
    given: str
    learnt: str


class Renderer:
    """Conversations as a tokenizer's ids, by one template.

    The ids of what is given are exactly those that a server gets when it renders the same text, and
    the answer's ids go on from there. Tokenising the whole text at once is not enough: GPT-2's rule
    for white space makes two tokens of the line ends before an answer, and one where nothing
    follows.

    Attributes:
        name: the template's.
        end: the text of the token that ends an answer.
        chat_template: what the saved model carries.
    """

    def __init__(self, name: str, tokenizer: PreTrainedTokenizerBase) -> None:
        """Take the template `name`, or `tokenizer` for whatever the tokenizer's own says.

        Raises:
            BadInput: there is no such template, or the tokenizer lacks tokens for it.
        """
        self.name = name
        self.tokenizer: Any = tokenizer
        self._bos, self._eos = tokenizer.bos_token or "", tokenizer.eos_token or ""
        if name == OWN:
            if not isinstance(tokenizer.chat_template, str):
                raise BadInput(
                    f"template {OWN}: {tokenizer.name_or_path} has no chat_template of its own; "
                    "name one of the table"
                )
            self._row = None
            self.chat_template = tokenizer.chat_template
            self.end = self._own_end()
        else:
            self._row = template_named(name)
            check_tokens(name, self._row, tokenizer)
            self.chat_template = jinja_of(self._row)
            self.end = self._row.end.replace("{eos}", self._eos)

    @property
    def end_id(self) -> int:
        """The id of the token that ends an answer."""
        return int(self.tokenizer.convert_tokens_to_ids(self.end))

    def pieces(self, messages: Sequence[Message], *, cue: bool = False) -> list[Piece]:
        """The conversation as text, and what of it is learnt."""
        if self._row is not None:
            return render(self._row, messages, bos=self._bos, eos=self._eos, cue=cue)
        return self._own_pieces(messages, cue=cue)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids that make the model answer a conversation that ends with a question."""
        text = "".join(piece.text for piece in self.pieces(messages, cue=True))
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode(self, conversations: Sequence[Sequence[Message]]) -> list[list[Encoded]]:
        """What is learnt from each conversation: mostly one sample (see `split_history`)."""
        parts = [self._split(messages) for messages in conversations]
        flat = [self._exchanges(part) for split in parts for part in split]
        texts = [
            text
            for exchanges in flat
            for e in exchanges
            for text in (e.anchor + e.given, e.anchor + e.given + e.learnt)
        ]
        ids = iter(self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else [])
        samples = iter([self._sample([(e, next(ids), next(ids)) for e in ex]) for ex in flat])
        return [[next(samples) for _ in split] for split in parts]

    def answers(self, messages: Sequence[Message], answers: Sequence[str]) -> list[Encoded]:
        """The same question with each of `answers`; only the answer is learnt."""
        whole = [[*messages, Message(ASSISTANT, answer)] for answer in answers]
        found = [samples[-1] for samples in self.encode(whole)]
        for sample in found:
            runs = np.flatnonzero(np.diff(sample.learnt.astype(np.int8)) == 1)
            sample.learnt[: runs[-1] + 1] = False  # answers of earlier turns are given
        return found

    def _split(self, messages: Sequence[Message]) -> list[tuple[Message, ...]]:
        return [tuple(messages)] if self._row is None else split_history(self._row, messages)

    def _exchanges(self, messages: Sequence[Message]) -> list[Exchange]:
        found: list[Exchange] = []
        given = ""
        for piece in self.pieces(messages):
            if piece.learnt:
                found.append(Exchange(self.end if found else "", given, piece.text))
                given = ""
            else:
                given += piece.text
        return found  # what stands behind the last answer is nobody's business

    def _sample(self, parts: Sequence[tuple[Exchange, list[int], list[int]]]) -> Encoded:
        ids: list[int] = []
        learnt: list[bool] = []
        for exchange, given, whole in parts:
            answer = whole[len(given) :]
            if whole[: len(given)] != given:
                answer = self._behind(exchange.learnt)
            given = given[1:] if exchange.anchor else given
            ids += [*given, *answer]
            learnt += [False] * len(given) + [True] * len(answer)
        return Encoded(np.array(ids, np.int64), np.array(learnt, np.bool_))

    def _behind(self, text: str) -> list[int]:
        """The ids of a text that goes on, without what a tokenizer puts before a start."""
        before = self.tokenizer("\n", add_special_tokens=False)["input_ids"]
        whole = self.tokenizer("\n" + text, add_special_tokens=False)["input_ids"]
        if whole[: len(before)] == before:
            return list(whole[len(before) :])
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _own(self, messages: Sequence[Message], *, cue: bool) -> str:
        plain = [message._asdict() for message in messages]
        try:
            return str(
                self.tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=cue)
            )
        except jinja2.TemplateError as error:
            raise BadInput(f"the tokenizer's chat template refuses: {error}") from error

    def _own_pieces(self, messages: Sequence[Message], *, cue: bool) -> list[Piece]:
        """The tokenizer's own rendering, told apart by what each turn adds to the text."""
        pieces: list[Piece] = []
        text = ""
        for number, message in enumerate(messages):
            whole = self._own(messages[: number + 1], cue=False)
            if message.role == ASSISTANT:
                asked = self._own(messages[:number], cue=True)
                if not (asked.startswith(text) and whole.startswith(asked)):
                    raise BadInput(
                        "the tokenizer's chat template writes earlier turns differently once more "
                        "follow, so what is learnt cannot be told; name a template of the table"
                    )
                pieces.append(Piece(asked[len(text) :], False))
                said, end, rest = whole[len(asked) :].rpartition(self.end)
                pieces += [Piece(said + end, True), Piece(rest, False)]
                text = whole
        whole = self._own(messages, cue=cue)
        pieces.append(Piece(whole[len(text) :], False))
        return [piece for piece in pieces if piece.text]

    def _own_end(self) -> str:
        """The special token that follows an answer in the tokenizer's own template."""
        probe = [Message("user", "1"), Message(ASSISTANT, "0")]
        behind = self._own(probe, cue=False)[len(self._own(probe[:1], cue=True)) :]
        tokens = [*self.tokenizer.get_added_vocab(), *self.tokenizer.all_special_tokens]
        places = {behind.find(token): token for token in tokens if token in behind}
        if not places:
            raise BadInput(
                f"template {OWN}: {self.tokenizer.name_or_path}'s chat_template ends an answer "
                "with no special token, so that no answer would end; name one of the table"
            )
        return places[min(places)]


def cut(sample: Encoded, length: int) -> Encoded:
    """The first `length` tokens."""
    return Encoded(sample.ids[:length], sample.learnt[:length])
