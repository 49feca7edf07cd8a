"""Conversations out of instruction files, whatever their layout: a table of layouts, recognised by
a record's keys.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from langraft.core.errors import BadInput
from langraft.data.objects import Unfit, read_objects

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
# What the layouts call the speakers.
SPEAKERS: Mapping[str, str] = {
    **dict.fromkeys(("system",), SYSTEM),
    **dict.fromkeys(("user", "human", "Human", "prompter", "question"), USER),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "bing", "bard", "Assistant"), ASSISTANT),
}
# A history inside the instruction, as BELLE's multi-turn files have it.
_SPEAKER = re.compile(r"(?:^|\n)\s*(Human|Assistant)\s*[:：]")


class Message(NamedTuple):
    """One turn; `role` is system, user or assistant."""

    role: str
    content: str


@dataclasses.dataclass(frozen=True)
class Conversation:
    """Turns, with the place they were read from.

    Attributes:
        messages: as read; `flaw_of` says whether they can be learnt from.
        path, line: the file, and the line or the number of the record.
        score: how good the answer is, where the file says so.
        fields: the record's numbers, for a curriculum by a given field.
    """

    messages: tuple[Message, ...]
    path: str = ""
    line: int = 0
    score: float | None = None
    fields: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def place(self) -> str:
        """`file:line`."""
        return f"{self.path}:{self.line}"


class Refused(ValueError):
    """A record that its layout cannot make a conversation of."""


def text_of(content: Any) -> str:
    """The text of a message's content: a string, or OpenAI's list of parts, of text only."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        kinds = [part.get("type") for part in content if isinstance(part, dict)]
        if len(kinds) == len(content) and set(kinds) <= {"text"}:
            return "".join(str(part.get("text", part.get("value", ""))) for part in content)
        raise Refused(f"a part of kind {next((k for k in kinds if k != 'text'), None)!r}, not text")
    raise Refused(f"the content is a {type(content).__name__}, not a string")


def message_of(turn: Any) -> Message:
    """A turn of any layout: its speaker under `role` or `from`, its text under `content` or
    `value`.

    Raises:
        Refused: an unknown speaker, or no text.
    """
    if not isinstance(turn, Mapping):
        raise Refused(f"a turn is a {type(turn).__name__}, not an object")
    speaker = turn.get("role", turn.get("from"))
    if speaker not in SPEAKERS:
        raise Refused(f"unknown speaker {speaker!r}; known are {', '.join(SPEAKERS)}")
    return Message(SPEAKERS[speaker], text_of(turn.get("content", turn.get("value"))))


def instruction_of(record: Mapping[str, Any], prefix: str = "") -> list[Message]:
    """The turns up to the question: `system`, `history` (pairs), then the instruction and its
    input on a new line; a history inside the instruction becomes turns.
    """
    turns = [Message(SYSTEM, str(record["system"]))] if record.get("system") else []
    for pair in record.get("history") or ():
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise Refused("an entry of history is not a pair of question and answer")
        turns += [Message(USER, str(pair[0])), Message(ASSISTANT, str(pair[1]))]
    parts = [record.get(f"{prefix}instruction"), record.get(f"{prefix}input")]
    question = "\n".join(text_of(part) for part in parts if part)
    return turns + told(question)


def told(instruction: str) -> list[Message]:
    """The turns of `Human:..\\nAssistant:..\\nHuman:..`; any other text is one question."""
    marks = list(_SPEAKER.finditer(instruction))
    if not marks or marks[0].start() or marks[0][1] != "Human" or len(marks) == 1:
        return [Message(USER, instruction)]
    ends = [*(mark.start() for mark in marks[1:]), len(instruction)]
    turns = [
        Message(SPEAKERS[mark[1]], instruction[mark.end() : end].strip())
        for mark, end in zip(marks, ends, strict=True)
    ]
    if turns[-1] == Message(ASSISTANT, ""):  # the answer's heading stands at the end
        turns.pop()
    return turns


def _alpaca(record: Mapping[str, Any]) -> list[list[Message]]:
    return [[*instruction_of(record), Message(ASSISTANT, text_of(record["output"]))]]


def _bilingual(language: str) -> Callable[[Mapping[str, Any]], list[list[Message]]]:
    def convert(record: Mapping[str, Any]) -> list[list[Message]]:
        answer = text_of(record[f"{language}_output"])
        return [[*instruction_of(record, f"{language}_"), Message(ASSISTANT, answer)]]

    return convert


def _seed_tasks(record: Mapping[str, Any]) -> list[list[Message]]:
    return [
        turns
        for instance in record["instances"]
        for turns in _alpaca({"instruction": record["instruction"], **instance})
    ]


def _ziya(record: Mapping[str, Any]) -> list[list[Message]]:
    questions, answers = record["prompt"], record["output"]
    if not isinstance(answers, list) or len(questions) != len(answers):
        raise Refused("prompt and output are not lists of the same length")
    pairs = zip(questions, answers, strict=True)
    return [[m for q, a in pairs for m in (Message(USER, q), Message(ASSISTANT, a))]]


def _turns(key: str) -> Callable[[Mapping[str, Any]], list[list[Message]]]:
    def convert(record: Mapping[str, Any]) -> list[list[Message]]:
        turns = record[key]
        if not isinstance(turns, list):
            raise Refused(f"{key!r} is a {type(turns).__name__}, not a list")
        system = [Message(SYSTEM, str(record["system"]))] if record.get("system") else []
        return [[*system, *map(message_of, turns)]]

    return convert


def _pair(question: str, answer: str) -> Callable[[Mapping[str, Any]], list[list[Message]]]:
    def convert(record: Mapping[str, Any]) -> list[list[Message]]:
        return [[*told(text_of(record[question])), Message(ASSISTANT, text_of(record[answer]))]]

    return convert


class Layout(NamedTuple):
    """A way of writing conversations: the keys it is known by, and what makes turns of a record."""

    keys: tuple[str, ...]
    convert: Callable[[Mapping[str, Any]], list[list[Message]]]
    lists: tuple[str, ...] = ()  # keys that must hold lists


# In the order in which they are tried: a record may have the keys of several.
LAYOUTS: Mapping[str, Layout] = {
    "messages": Layout(("messages",), _turns("messages"), ("messages",)),  # OpenAI, Colossal
    "sharegpt": Layout(("conversations",), _turns("conversations"), ("conversations",)),
    "ziya": Layout(("prompt", "output"), _ziya, ("prompt",)),
    "seed-tasks": Layout(("instruction", "instances"), _seed_tasks, ("instances",)),
    "alpaca": Layout(("instruction", "output"), _alpaca),
    "bilingual-zh": Layout(("zh_instruction", "zh_output"), _bilingual("zh")),
    "bilingual-en": Layout(("en_instruction", "en_output"), _bilingual("en")),
    "belle": Layout(("input", "target"), _pair("input", "target")),
    "prompt-response": Layout(("prompt", "response"), _pair("prompt", "response")),
    "prompt-completion": Layout(("prompt", "completion"), _pair("prompt", "completion")),
    "prompt-output": Layout(("prompt", "output"), _pair("prompt", "output")),
    "query-response": Layout(("query", "response"), _pair("query", "response")),
    "question-answer": Layout(("question", "answer"), _pair("question", "answer")),
}


def layout_of(record: Mapping[str, Any]) -> str | None:
    """The first layout whose keys the record has."""
    for name, layout in LAYOUTS.items():
        if all(key in record for key in layout.keys) and all(
            isinstance(record[key], list) for key in layout.lists
        ):
            return name
    return None


def read_conversations(path: Path, layout: str | None = None) -> Iterator[Conversation | Unfit]:
    """The conversations of one file, and the records that make none.

    Args:
        layout: a row of `LAYOUTS`; default: whatever each record's keys say.

    Raises:
        BadInput: the file cannot be read, or there is no such layout.
    """
    if layout is not None and layout not in LAYOUTS:
        raise BadInput(f"layout {layout!r}: known are {', '.join(LAYOUTS)}")
    for found in read_objects(path):
        if isinstance(found, Unfit):
            yield found
            continue
        line, record = found
        name = layout or layout_of(record)
        strange = _strange(record)
        if strange:
            yield Unfit(str(path), line, strange)
        elif name is None:
            keys = ", ".join(map(repr, record))
            yield Unfit(str(path), line, f"no known layout; its keys are {keys or 'none'}")
        else:
            yield from _converted(str(path), line, record, name)


def _converted(
    path: str, line: int, record: Mapping[str, Any], name: str
) -> Iterator[Conversation | Unfit]:
    try:
        conversations = LAYOUTS[name].convert(record)
    except (Refused, KeyError, TypeError, AttributeError) as error:
        yield Unfit(path, line, f"layout {name}: {error}")
        return
    score, numbers = _numbers(record)
    for turns in conversations:
        yield Conversation(_clean(turns), path, line, score, numbers)


def _strange(record: Mapping[str, Any]) -> str | None:
    """What makes a record none to learn from, whatever its layout."""
    if record.get("label") is False:
        return "its answer is labelled as a bad one"
    media = next((key for key in ("images", "videos", "audios") if record.get(key)), None)
    return f"it needs {media}, and langraft teaches text alone" if media else None


def _clean(turns: Sequence[Message]) -> tuple[Message, ...]:
    """Without white space around turns, which would be learnt, and without empty system turns."""
    stripped = [Message(turn.role, turn.content.strip()) for turn in turns]
    return tuple(turn for turn in stripped if turn.role != SYSTEM or turn.content)


def _numbers(record: Mapping[str, Any]) -> tuple[float | None, dict[str, float]]:
    metadata = record.get("metadata")
    fields = {**record, **(metadata if isinstance(metadata, dict) else {})}
    numbers = {
        key: float(value)
        for key, value in fields.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return numbers.get("score"), numbers


def flaw_of(messages: Sequence[Message]) -> str | None:
    """Why a conversation cannot be learnt from, or None: turns must go user, assistant, user, ...
    behind at most one system turn, end with the assistant, and none may be empty.
    """
    if messages and messages[0].role == SYSTEM:
        messages = messages[1:]
    if not messages:
        return "there is no turn"
    for number, message in enumerate(messages, 1):
        wanted = USER if number % 2 else ASSISTANT
        if message.role != wanted:
            return f"turn {number} is the {message.role}'s, but must be the {wanted}'s"
        if not message.content.strip():
            return f"turn {number} ({message.role}) is empty"
    if messages[-1].role != ASSISTANT:
        return "the last turn is the user's: there is no answer to learn"
    return None
