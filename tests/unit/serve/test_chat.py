from __future__ import annotations

import io
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_llama import byte_tokenizer
from transformers import LlamaTokenizer

from langraft.core.errors import BadInput
from langraft.serve.chat import Conversation, TextStream, chat, complete, load

BYTES = byte_tokenizer()


def streamed(stream: TextStream, ids: list[int]) -> list[str]:
    return [*(stream.add(token) for token in ids), stream.end()]


def test_a_character_is_shown_when_its_last_byte_is_there() -> None:
    ids = BYTES("中a")["input_ids"]
    assert streamed(TextStream(BYTES), ids) == ["", "", "中", "a", ""]


def test_a_character_that_never_ends_is_shown_at_the_end() -> None:
    ids = BYTES("a中")["input_ids"][:-1]
    assert streamed(TextStream(BYTES), ids) == ["a", "", "", "\N{REPLACEMENT CHARACTER}"]


@given(st.text(max_size=40))
def test_streaming_loses_nothing_and_never_shows_half_a_character(text: str) -> None:
    parts = streamed(TextStream(BYTES), BYTES(text)["input_ids"])
    assert "".join(parts) == text
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert "\N{REPLACEMENT CHARACTER}" not in "".join(parts[:-1])


@given(st.lists(st.integers(0, 257), max_size=30))
def test_any_bytes_stream_to_the_whole_decoding(ids: list[int]) -> None:
    assert "".join(streamed(TextStream(BYTES), ids)) == BYTES.decode(ids, skip_special_tokens=True)


def test_sentencepiece_spaces_survive_between_tokens(material: Path) -> None:
    tokenizer = LlamaTokenizer.from_pretrained(material / "tokenizers" / "llama2")
    text = "The cat sat. 猫坐在垫子上。 \N{CAT FACE} naïve  two spaces"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert "".join(streamed(TextStream(tokenizer), ids)) == text
    for cut in range(1, len(ids)):
        head, tail = ids[:cut], ids[cut:]
        whole = tokenizer.decode(head, skip_special_tokens=True)
        if not whole.endswith("\N{REPLACEMENT CHARACTER}"):
            assert whole + "".join(streamed(TextStream(tokenizer, head), tail)) == text


def greedy_by_hand(model: Any, tokenizer: Any, prompt: str, count: int) -> str:
    """The argmax of the full forward pass, token by token, without a cache and without generate."""
    ids = tokenizer(prompt)["input_ids"]
    start = len(ids)
    for _ in range(count):
        with torch.no_grad():
            token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True))


@settings(max_examples=5, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_complete_is_the_argmax_of_every_step(model: Path, prompt: str) -> None:
    loaded, tokenizer = load(model)
    expected = greedy_by_hand(loaded, tokenizer, prompt, 12)
    assert complete(loaded, tokenizer, prompt, 12) == expected


def test_complete_ignores_the_sampling_of_the_folder(model: Path) -> None:
    loaded, tokenizer = load(model)
    expected = complete(loaded, tokenizer, "abc", 12)
    loaded.generation_config.do_sample = True
    loaded.generation_config.temperature = 9.0
    assert [complete(loaded, tokenizer, "abc", 12) for _ in range(3)] == [expected] * 3


def test_complete_refuses_an_empty_prompt(model: Path) -> None:
    with pytest.raises(BadInput, match="prompt is empty"):
        complete(*load(model), "", 4)


def piped(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    model: Path,
    lines: str,
    **options: Any,
) -> str:
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    chat(model, **({"max_new_tokens": 8, "temperature": 0.0, "system": None} | options))
    return capsys.readouterr().out


def test_piped_lines_are_answered_until_quit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    loaded, tokenizer = load(model)
    prompt = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    answer = greedy_by_hand(loaded, tokenizer, prompt, 8)
    once = piped(monkeypatch, capsys, model, "hello\n\n/quit\nhello\n")
    assert (
        once == "".join(c for c in answer if c in "\n\t" or c.isprintable() or ord(c) >= 160) + "\n"
    )
    assert piped(monkeypatch, capsys, model, "hello\n/clear\n/help\nhello\n") == once * 2


def test_the_conversation_is_remembered_and_the_system_message_is_first(model: Path) -> None:
    loaded, tokenizer = load(model)
    talk = Conversation(loaded, tokenizer, 4, 0.0, system="be brief")
    first = talk.answer("one")
    expected = (
        "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\none<|im_end|>\n"
        f"<|im_start|>assistant\n{first}<|im_end|>\n<|im_start|>user\ntwo<|im_end|>\n<|im_start|>assistant\n"
    )
    assert talk.answer("two") == greedy_by_hand(loaded, tokenizer, expected, 4)


def test_without_a_template_the_text_goes_on(plain_model: Path) -> None:
    loaded, tokenizer = load(plain_model)
    talk = Conversation(loaded, tokenizer, 4, 0.0)
    first = talk.answer("one")
    assert first == greedy_by_hand(loaded, tokenizer, "one", 4)
    assert talk.answer("two") == greedy_by_hand(loaded, tokenizer, f"one{first}\ntwo", 4)


def test_sampling_is_seeded_and_is_not_greedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    runs = [piped(monkeypatch, capsys, model, "hello\nyou\n", temperature=1.5) for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0] != piped(monkeypatch, capsys, model, "hello\nyou\n")


def test_the_oldest_turns_make_room(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loaded, tokenizer = load(model)
    talk = Conversation(loaded, tokenizer, 8, 0.0)
    for _ in range(3):
        talk.answer("x" * 90)
    assert "oldest 1 turns are forgotten" in capsys.readouterr().err


def test_a_message_that_never_fits_is_refused_and_forgotten(model: Path) -> None:
    loaded, tokenizer = load(model)
    talk, fresh = Conversation(loaded, tokenizer, 8, 0.0), Conversation(loaded, tokenizer, 8, 0.0)
    with pytest.raises(BadInput, match="between 1 and 248 fit"):
        talk.answer("x" * 300)
    assert talk.answer("hi") == fresh.answer("hi")


def test_the_terminal_gets_no_escape_sequences(
    capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    loaded, tokenizer = load(model)
    escape = BYTES("\x1b")["input_ids"][0]
    bias = torch.zeros(258)
    bias[escape] = 1e4
    loaded.lm_head.bias = torch.nn.Parameter(bias)
    assert Conversation(loaded, tokenizer, 4, 0.0).answer("hi") == "\x1b" * 4
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "no config.json"),
        ("model.safetensors", r"no \*\.safetensors"),
        ("tokenizer.json", "neither tokenizer.json"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(
    tmp_path: Path, model: Path, missing: str, message: str
) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / missing).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(BadInput, match=message):
        load(folder)


def test_a_missing_folder_and_cut_weights_are_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(BadInput, match="no such folder"):
        load(tmp_path / "nowhere")
    folder = shutil.copytree(model, tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BadInput, match="cannot load this model"):
        load(folder)


def test_code_in_the_folder_is_never_run(tmp_path: Path, model: Path) -> None:
    folder = shutil.copytree(model, tmp_path / "model")
    (folder / "config.json").write_text(
        '{"model_type": "evil", "auto_map": {"AutoConfig": "evil.C"}}'
    )
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'pwned')!r}, 'w')\n")
    with pytest.raises(BadInput):
        load(folder)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("options", "key"),
    [({"temperature": -1.0}, "temperature"), ({"max_new_tokens": 0}, "max-new-tokens")],
)
def test_bad_settings_name_their_option(model: Path, options: dict[str, Any], key: str) -> None:
    with pytest.raises(BadInput, match=f"--{key}"):
        chat(model, **({"max_new_tokens": 4, "temperature": 0.0, "system": None} | options))


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
        "import sys, time, pathlib, langraft.serve.chat as c\n"
        "def slow(self, value):\n    sys.stdout.write('#'); sys.stdout.flush(); time.sleep(0.05)\n"
        "c._Printer.put = slow\n"
        "c.chat(pathlib.Path(sys.argv[1]), max_new_tokens=200, temperature=1.0, system=None)"
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
    read_until(master, "##")
    process.send_signal(signal.SIGINT)
    read_until(master, "> ")
    os.write(master, b"again\n")
    read_until(master, "##")
    process.send_signal(signal.SIGINT)
    read_until(master, "> ")
    os.write(master, b"\x04")
    assert process.wait(timeout=30) == 0
    os.close(master)
