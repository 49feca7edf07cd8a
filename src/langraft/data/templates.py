"""How conversations are written for a model: a table of templates, and one renderer that training,
evaluation, chat and server share, because the saved model carries it as a Jinja `chat_template`.

The renderer says of every piece whether it is learnt. The Jinja text is made from the same row of
the table; that both give the same bytes is tested for every row.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from langraft.core.errors import BadInput
from langraft.data.conversations import ASSISTANT, SYSTEM, USER, Message

BOS, EOS = "{bos}", "{eos}"


class Piece(NamedTuple):
    """A stretch of a rendered conversation, and whether the model learns to write it."""

    text: str
    learnt: bool


@dataclasses.dataclass(frozen=True)
class Template:
    """A row of the table; `{bos}` and `{eos}` stand for the tokenizer's own tokens.

    A conversation is `opening`, then for each question `turn`, before the first one the system
    message between `system[0]` and `system[1]`, `user[0]` question `user[1]`, and for each answer
    `cue`, `answer[0]` answer `answer[1]`, `after`. The model learns `answer[0]`, the answer and
    `answer[1]`.

    Attributes:
        default_system: the system message of conversations that have none; "" is none.
        cue: what is given to the model so that it answers.
        history: with (a, b), earlier turns are told inside the question, each as
            a question newline b answer newline, and only the last answer is learnt.
        special: tokens that must be single in the tokenizer, besides its `bos` and `eos`.
    """

    user: tuple[str, str]
    opening: str = ""
    system: tuple[str, str] = ("", "\n\n")
    default_system: str = ""
    turn: str = ""
    cue: str = ""
    answer: tuple[str, str] = ("", EOS)
    after: str = ""
    history: tuple[str, str] | None = None
    special: tuple[str, ...] = ()

    @property
    def end(self) -> str:
        """What ends an answer: `{eos}`, or a special token's text."""
        return self.answer[1].strip()


_CHATML = Template(
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    user=("<|im_start|>user\n", "<|im_end|>\n"),
    cue="<|im_start|>assistant\n",
    answer=("", "<|im_end|>"),
    after="\n",
    special=("<|im_start|>", "<|im_end|>"),
)
_VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)
_ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request."
)

TEMPLATES: Mapping[str, Template] = {
    # Stanford Alpaca with blank lines behind both headings, history inside the instruction.
    "alpaca": Template(
        opening=BOS,
        default_system=_ALPACA,
        user=("### Instruction:\n\n", "\n\n"),
        cue="### Response:\n\n",
        history=("Human:", "Assistant:"),
    ),
    # Meta's: every exchange opens with its own BOS, and the answer stands between spaces.
    "llama2": Template(
        turn=BOS + "[INST] ",
        system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        user=("", " [/INST]"),
        answer=(" ", " " + EOS),
    ),
    # Chinese-Alpaca-2.
    "llama2-zh": Template(
        turn=BOS + "[INST] ",
        system=("<<SYS>>\n", "\n<</SYS>>\n\n"),
        default_system="You are a helpful assistant. 你是一个乐于助人的助手。",
        user=("", " [/INST]"),
        answer=(" ", EOS),
    ),
    "ziya": Template(opening=BOS, user=("<human>:", "\n"), cue="<bot>:", system=("", "\n")),
    # Ziya-LLaMA-7B-Reward.
    "ziya-reward": Template(
        opening=BOS, user=("Human:", "\n\n"), cue="Assistant:", system=("", "\n\n")
    ),
    "vicuna": Template(
        opening=BOS,
        system=("", " "),
        default_system=_VICUNA,
        user=("USER: ", ""),
        cue=" ASSISTANT:",
        answer=(" ", EOS),
    ),
    # Colossal-LLaMA-2: every message stands between BOS and EOS.
    "colossal": Template(
        opening=BOS,
        default_system=_VICUNA.replace("curious user", "curious human").replace(
            "user's", "human's"
        ),
        user=(f"Human: {BOS}", EOS),
        cue=f"Assistant: {BOS}",
    ),
    "chatml": _CHATML,
    "qwen": dataclasses.replace(_CHATML, default_system="You are a helpful assistant."),
    "llama3": Template(
        opening=BOS,
        system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
        user=("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        cue="<|start_header_id|>assistant<|end_header_id|>\n\n",
        answer=("", "<|eot_id|>"),
        special=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    ),
}
OWN = "tokenizer"  # whatever the tokenizer's own chat_template says


def template_named(name: str) -> Template:
    """A row of `TEMPLATES`.

    Raises:
        BadInput: there is none of that name.
    """
    if name not in TEMPLATES:
        raise BadInput(f"template {name!r}: known are {', '.join([*TEMPLATES, OWN])}")
    return TEMPLATES[name]


def render(
    template: Template,
    messages: Sequence[Message],
    *,
    bos: str,
    eos: str,
    cue: bool = False,
) -> list[Piece]:
    """The conversation in pieces; with `cue`, what makes the model answer stands at the end.

    Messages must alternate (see `flaw_of`); a last question without an answer is fine.
    """
    row = _named(template, bos, eos)
    system, turns = row.default_system, list(messages)
    if turns and turns[0].role == SYSTEM:
        system, turns = turns[0].content, turns[1:]
    if row.history is not None:
        turns = _told(turns, row.history)
    pieces = [Piece(row.opening, False)]
    for number, (role, content) in enumerate(turns):
        if role == USER:
            head = "".join((row.system[0], system, row.system[1])) if system else ""
            asked = row.turn + (head if number == 0 else "") + row.user[0] + content + row.user[1]
            pieces.append(Piece(asked, False))
        else:
            pieces.append(Piece(row.cue, False))
            pieces.append(Piece(row.answer[0] + content + row.answer[1], True))
            pieces.append(Piece(row.after, False))
    pieces.append(Piece(row.cue if cue else "", False))
    return [piece for piece in pieces if piece.text]


def _named(template: Template, bos: str, eos: str) -> Template:
    """The row with the tokenizer's own tokens in the place of `{bos}` and `{eos}`."""

    def named(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(BOS, bos).replace(EOS, eos)
        return tuple(map(named, value)) if isinstance(value, tuple) else value

    fields = dataclasses.fields(template)
    return Template(**{field.name: named(getattr(template, field.name)) for field in fields})


def _told(turns: Sequence[Message], names: tuple[str, str]) -> list[Message]:
    """Only the last question, with what was said before told inside it, and its answer."""
    last = max(n for n, turn in enumerate(turns) if turn.role == USER)
    if last == 0:
        return list(turns)
    lines = [f"{names[turn.role == ASSISTANT]}{turn.content}" for turn in turns[: last + 1]]
    return [Message(USER, "\n".join(lines)), *turns[last + 1 :]]


def split_history(template: Template, messages: Sequence[Message]) -> list[tuple[Message, ...]]:
    """What to render so that every answer is learnt once: the conversation; or, where history is
    told inside the question, the conversation up to each answer.
    """
    if template.history is None:
        return [tuple(messages)]
    ends = [n + 1 for n, turn in enumerate(messages) if turn.role == ASSISTANT]
    return [tuple(messages[:end]) for end in ends]


def jinja_of(template: Template) -> str:
    """The template in Jinja, as `chat_template` of a tokenizer."""

    def text(value: str) -> str:
        """A Jinja expression of a table's text."""
        parts = [part for part in re.split(r"(\{bos\}|\{eos\})", value) if part]
        names = {BOS: "bos_token", EOS: "eos_token"}
        written = [names.get(part, json.dumps(part, ensure_ascii=False)) for part in parts]
        return " ~ ".join(written) or '""'

    def put(value: str) -> str:
        return f"{{{{- {value} -}}}}" if value != '""' else ""

    head = f"{text(template.system[0])} ~ ns.system ~ {text(template.system[1])}"
    question = f"{text(template.user[0])} ~ ns.question ~ {text(template.user[1])}"
    answer = f"{text(template.answer[0])} ~ message['content'] ~ {text(template.answer[1])}"
    ask = (
        put(text(template.turn))
        + "{%- if ns.first and ns.system -%}"
        + put(head)
        + "{%- endif -%}{%- set ns.first = false -%}"
        + put(question)
    )
    reply = put(text(template.cue)) + put(answer) + put(text(template.after))
    start = (
        f"{{%- set ns = namespace(system={text(template.default_system)}, first=true, "
        "question='', told='') -%}"
        "{%- if messages and messages[0]['role'] == 'system' -%}"
        "{%- set ns.system = messages[0]['content'] -%}{%- endif -%}" + put(text(template.opening))
    )
    loop = _plain_loop(ask, reply) if template.history is None else _told_loop(template, ask, reply)
    end = "{%- if add_generation_prompt -%}" + put(text(template.cue)) + "{%- endif -%}"
    return start + loop + end


def _plain_loop(ask: str, reply: str) -> str:
    return (
        "{%- for message in messages -%}"
        "{%- if message['role'] == 'user' -%}{%- set ns.question = message['content'] -%}"
        + ask
        + "{%- elif message['role'] == 'assistant' -%}"
        + reply
        + "{%- endif -%}{%- endfor -%}"
    )


def _told_loop(template: Template, ask: str, reply: str) -> str:
    """Turns are gathered until the last question has come."""
    assert template.history is not None
    human, assistant = (json.dumps(name) for name in template.history)
    newline = '"\\n"'
    return (
        "{%- set ns.last = 0 -%}{%- for message in messages -%}"
        "{%- if message['role'] == 'user' -%}{%- set ns.last = loop.index0 -%}{%- endif -%}"
        "{%- endfor -%}{%- for message in messages -%}{%- if loop.index0 < ns.last -%}"
        f"{{%- if message['role'] == 'user' -%}}"
        f"{{%- set ns.told = ns.told ~ {human} ~ message['content'] ~ {newline} -%}}"
        f"{{%- elif message['role'] == 'assistant' -%}}"
        f"{{%- set ns.told = ns.told ~ {assistant} ~ message['content'] ~ {newline} -%}}"
        "{%- endif -%}{%- elif message['role'] == 'user' -%}"
        f"{{%- set ns.question = (ns.told ~ {human} if ns.told else '') ~ message['content'] -%}}"
        + ask
        + "{%- elif message['role'] == 'assistant' -%}"
        + reply
        + "{%- endif -%}{%- endfor -%}"
    )


def check_tokens(name: str, template: Template, tokenizer: Any) -> None:
    """See that the tokenizer has what the template needs.

    Raises:
        BadInput: a special token is missing, or the tokenizer names no end of text.
    """
    vocabulary = tokenizer.get_vocab()
    lacking = [token for token in template.special if token not in vocabulary]
    if lacking:
        raise BadInput(
            f"template {name}: the tokenizer ({tokenizer.name_or_path}) has no token "
            f"{lacking[0]!r}; take a template without it ({_plain_names()}), or add the token"
        )
    if EOS in template.answer[1] and tokenizer.eos_token is None:
        raise BadInput(
            f"template {name}: the tokenizer ({tokenizer.name_or_path}) names no end-of-text "
            "token, so that no answer would end"
        )


def _plain_names() -> str:
    return ", ".join(name for name, row in TEMPLATES.items() if not row.special)
