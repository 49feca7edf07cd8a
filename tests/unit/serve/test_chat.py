from __future__ import annotations

import asyncio
import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_llama import byte_tokenizer, greedy_by_hand

from langraft.core.errors import BadInput
from langraft.serve.chat import Conversation, chat
from langraft.serve.engine import Engine
from langraft.serve.llama import LlamaEngine
from langraft.serve.local import TransformersEngine
from langraft.serve.text import load

ESCAPE = byte_tokenizer()("\x1b")["input_ids"][0]
SLOW = byte_tokenizer().decode([2])


def talk(engine: Engine, lines: Sequence[str], tokens: int = 4, system: str | None = None) -> Any:
    """The greedy answers to `lines`, and the conversation."""

    async def work() -> tuple[list[str], Conversation]:
        await engine.start()
        conversation = Conversation(engine, tokens, 0.0, system)
        try:
            return [await conversation.answer(line) for line in lines], conversation
        finally:
            await engine.stop()

    return asyncio.run(work())


def shown(text: str) -> str:
    """What of a text reaches the terminal."""
    return "".join(c for c in text if c in "\n\t" or c.isprintable() or ord(c) >= 160)


def piped(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: Path,
    lines: str,
    **options: Any,
) -> str:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    engine = TransformersEngine(model, "tiny")
    chat(engine, **({"max_new_tokens": 8, "temperature": 0.0} | options))
    return capsys.readouterr().out


def test_piped_lines_are_answered_until_quit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    loaded, tokenizer = load(model)
    prompt = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    answer = greedy_by_hand(loaded, tokenizer, prompt, 8)
    once = piped(monkeypatch, capsys, model, "hello\n\n/quit\nhello\n")
    assert once == shown(answer) + "\n"
    assert piped(monkeypatch, capsys, model, "hello\n/clear\n/help\nhello\n") == once * 2


def test_the_conversation_is_remembered_and_the_system_message_is_first(model: Path) -> None:
    (first, second), _ = talk(TransformersEngine(model, "tiny"), ["one", "two"], system="be brief")
    loaded, tokenizer = load(model)
    expected = (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\none<|im_end|>\n"
        f"<|im_start|>assistant\n{first}<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n"
    )
    assert second == greedy_by_hand(loaded, tokenizer, expected, 4)


def test_llama_and_transformers_hold_the_same_conversation(merged_model: Path, file: Path) -> None:
    llama, _ = talk(LlamaEngine(file, "tiny", context=256, slots=1), ["abc", "d"], 8)
    assert llama == talk(TransformersEngine(merged_model, "tiny"), ["abc", "d"], 8)[0]


@pytest.mark.parametrize("engine", ["llama", "transformers"])
def test_without_a_template_the_text_goes_on(
    engine: str, plain_model: Path, plain_file: Path
) -> None:
    built: Engine = (
        LlamaEngine(plain_file, "tiny", context=256, slots=1)
        if engine == "llama"
        else TransformersEngine(plain_model, "tiny")
    )
    (first, second), _ = talk(built, ["one", "two"])
    loaded, tokenizer = load(plain_model)
    for said, prompt in ((first, "one"), (second, f"one{first}\ntwo")):
        # llama.cpp keeps a character back that the answer's end leaves unfinished
        half = "\N{REPLACEMENT CHARACTER}"
        assert said.rstrip(half) == greedy_by_hand(loaded, tokenizer, prompt, 4).rstrip(half)


def test_sampling_is_seeded_and_is_not_greedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    runs = [piped(monkeypatch, capsys, model, "hello\nyou\n", temperature=1.5) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0] != piped(monkeypatch, capsys, model, "hello\nyou\n")


def test_the_oldest_turns_make_room(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk(TransformersEngine(model, "tiny"), ["x" * 90] * 3, 8)
    assert "oldest 1 turns are forgotten" in capsys.readouterr().err


def test_a_message_that_never_fits_is_refused_and_forgotten(model: Path) -> None:
    async def work() -> tuple[str, str]:
        engine = TransformersEngine(model, "tiny")
        await engine.start()
        one, other = Conversation(engine, 8, 0.0), Conversation(engine, 8, 0.0)
        with pytest.raises(BadInput, match="between 1 and 248 fit"):
            await one.answer("x" * 300)
        return await one.answer("hi"), await other.answer("hi")

    one, other = asyncio.run(work())
    assert one == other


def test_the_terminal_gets_no_escape_sequences(
    capsys: pytest.CaptureFixture[str], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langraft.serve.steps.choose", lambda *_: ESCAPE)
    (said,), _ = talk(TransformersEngine(model, "tiny"), ["hi"])
    assert said == "\x1b" * 4
    assert capsys.readouterr().out == ""


def test_a_conversation_is_shown_and_saved(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(
        sys, "stdin", io.StringIO(f"/system be brief\n你好\n/save {tmp_path}/talk.json\n/history\n")
    )
    chat(TransformersEngine(model, "tiny"), max_new_tokens=8, temperature=0.0)
    saved = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [m["role"] for m in saved] == ["system", "user", "assistant"]
    assert [m["content"] for m in saved[:2]] == ["be brief", "你好"]
    captured = capsys.readouterr()
    assert shown(saved[2]["content"]) + "\n" == captured.out
    assert "你好" in captured.err
    with pytest.raises(BadInput, match="there is no folder"):
        piped(monkeypatch, capsys, model, f"/save {tmp_path}/none/talk.json\n")
    with pytest.raises(BadInput, match="needs a file"):
        piped(monkeypatch, capsys, model, "/save\n")


@pytest.mark.parametrize(
    ("options", "key"),
    [({"temperature": -1.0}, "temperature"), ({"max_new_tokens": 0}, "max-new-tokens")],
)
def test_bad_settings_name_their_option(model: Path, options: dict[str, Any], key: str) -> None:
    with pytest.raises(BadInput, match=f"--{key}"):
        chat(
            TransformersEngine(model, "tiny"),
            **({"max_new_tokens": 4, "temperature": 0.0} | options),
        )


def read_until(terminal: int, wanted: str, seconds: float = 60) -> str:
    seen, limit = "", time.monotonic() + seconds
    while wanted not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0.0, limit - time.monotonic()))
        assert ready, f"no {wanted!r} within {seconds} s; saw {seen!r}"
        seen += os.read(terminal, 4096).decode(errors="replace")
    return seen


def test_ctrl_c_stops_the_answer_and_ctrl_d_the_chat(model: Path) -> None:
    """A real terminal and real keys: an endless answer, Ctrl-C, another line, Ctrl-D."""
    code = (
        "import sys, time, pathlib, langraft.serve.steps as s\n"
        "from langraft.serve.chat import chat\n"
        "from langraft.serve.local import TransformersEngine\n"
        "def slow(*_):\n    time.sleep(0.05); return 2\n"
        "s.choose = slow\n"
        "engine = TransformersEngine(pathlib.Path(sys.argv[1]), 'tiny')\n"
        "chat(engine, max_new_tokens=200, temperature=1.0)"
    )
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(model)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    read_until(master, "> ")
    os.write(master, b"hello\n")
    read_until(master, SLOW * 2)
    process.send_signal(signal.SIGINT)
    read_until(master, "> ")
    os.write(master, b"again\n")
    read_until(master, SLOW * 2)
    process.send_signal(signal.SIGINT)
    read_until(master, "> ")
    os.write(master, b"\x04")
    assert process.wait(timeout=30) == 0
    os.close(master)
