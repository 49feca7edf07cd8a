"""The table of templates, and that the saved chat_template writes the same bytes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from chat_bases import byte_level_tokenizer, llama_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.data.conversations import Message
from langraft.data.encode import Renderer
from langraft.data.templates import TEMPLATES, jinja_of, render

TOKENIZERS = {"byte-level": byte_level_tokenizer, "llama": llama_tokenizer}
SYSTEM = Message("system", "简短回答。")
TALK = [
    Message("user", "你好"),
    Message("assistant", "好！\n\n你呢？"),
    Message("user", 'a "quoted" {bos} \\n {{ x }}'),
    Message("assistant", "ok {eos}"),
]
# Worked by hand from the published sources.
WRITTEN = {
    "alpaca": "<s>Below is an instruction that describes a task. Write a response that "
    "appropriately completes the request.\n\n### Instruction:\n\n你好\n\n### Response:\n\n好</s>",
    "llama2": "<s>[INST] 你好 [/INST] 好 </s>",
    "llama2-zh": "<s>[INST] <<SYS>>\nYou are a helpful assistant. 你是一个乐于助人的助手。"
    "\n<</SYS>>\n\n你好 [/INST] 好</s>",
    "ziya": "<s><human>:你好\n<bot>:好</s>",
    "ziya-reward": "<s>Human:你好\n\nAssistant:好</s>",
    "vicuna": "<s>A chat between a curious user and an artificial intelligence assistant. The "
    "assistant gives helpful, detailed, and polite answers to the user's questions. USER: 你好 "
    "ASSISTANT: 好</s>",
    "colossal": "<s>A chat between a curious human and an artificial intelligence assistant. The "
    "assistant gives helpful, detailed, and polite answers to the human's questions.\n\n"
    "Human: <s>你好</s>Assistant: <s>好</s>",
    "chatml": "<|im_start|>user\n你好<|im_end|>\n<|im_start|>assistant\n好<|im_end|>\n",
    "qwen": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n你好"
    "<|im_end|>\n<|im_start|>assistant\n好<|im_end|>\n",
    "llama3": "<s><|start_header_id|>user<|end_header_id|>\n\n你好<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n好<|eot_id|>",
}


def written(name: str, messages: list[Message], cue: bool = False) -> str:
    pieces = render(TEMPLATES[name], messages, bos="<s>", eos="</s>", cue=cue)
    return "".join(piece.text for piece in pieces)


def by_transformers(name: str, messages: list[Message], tokenizer: Any, cue: bool) -> str:
    return tokenizer.apply_chat_template(
        [m._asdict() for m in messages],
        chat_template=jinja_of(TEMPLATES[name]),
        tokenize=False,
        add_generation_prompt=cue,
    )


def test_every_row_has_its_published_text() -> None:
    assert set(WRITTEN) == set(TEMPLATES)
    for name, text in WRITTEN.items():
        short = [Message("user", "你好"), Message("assistant", "好")]
        assert written(name, short) == text


def test_alpaca_tells_history_inside_the_instruction() -> None:
    text = written("alpaca", TALK[:3], cue=True)
    assert text.endswith(
        "### Instruction:\n\nHuman:你好\nAssistant:好！\n\n你呢？\nHuman:"
        'a "quoted" {bos} \\n {{ x }}\n\n### Response:\n\n'
    )


def test_llama2_opens_every_exchange_with_bos() -> None:
    text = written("llama2-zh", [SYSTEM, *TALK])
    assert text.count("<s>[INST] ") == 2 and text.count("<<SYS>>") == 1
    assert "<<SYS>>\n简短回答。\n<</SYS>>\n\n你好 [/INST] 好！" in text


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("cue", [False, True])
@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("turns", [1, 2, 3, 4])
def test_the_saved_template_writes_the_same_bytes(
    name: str, cue: bool, system: bool, turns: int
) -> None:
    talk = [SYSTEM] * system + TALK[:turns]
    found = by_transformers(name, talk, byte_level_tokenizer(), cue)
    assert found.encode() == written(name, talk, cue).encode()


texts = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12)


@pytest.mark.parametrize("name", TEMPLATES)
@settings(max_examples=15, deadline=None)
@given(contents=st.lists(texts, min_size=1, max_size=5))
def test_any_text_is_written_alike(name: str, contents: list[str]) -> None:
    talk = [Message(("user", "assistant")[n % 2], text) for n, text in enumerate(contents)]
    found = by_transformers(name, talk, byte_level_tokenizer(), False)
    assert found == written(name, talk)


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_training_sees_what_a_server_gives(name: str, kind: str) -> None:
    tokenizer = TOKENIZERS[kind]()
    renderer = Renderer(name, tokenizer)
    samples = renderer.encode([TALK])[0]
    for sample, turns in zip(samples, [TALK[:2], TALK][-len(samples) :], strict=True):
        edges = [n for n, (a, b) in enumerate(itertools.pairwise(sample.learnt)) if a != b]
        prompt = renderer.prompt(turns[:1] if len(samples) == 1 else turns[:-1])
        assert sample.ids[: len(prompt)].tolist() == prompt
        assert not sample.learnt[: len(prompt)].any() and sample.learnt[len(prompt)]
        assert sample.ids[sample.learnt][-1] == renderer.end_id and sample.learnt[-1]
        assert len(edges) == (1 if name == "alpaca" else 3)
        learnt = tokenizer.decode(sample.ids[sample.learnt])
        assert (
            "你好" not in learnt
            and "quoted" not in learnt
            and "ok" in tokenizer.decode(samples[-1].ids[samples[-1].learnt])
        )


@pytest.mark.parametrize("name", [n for n in TEMPLATES if n not in ("colossal", "chatml", "qwen")])
def test_a_conversation_has_one_bos(name: str) -> None:
    tokenizer = byte_level_tokenizer()
    ids = Renderer(name, tokenizer).encode([TALK[:2]])[0][0].ids
    assert (ids == tokenizer.bos_token_id).sum() == 1 and ids[0] == tokenizer.bos_token_id


def test_line_ends_before_an_answer_are_tokenised_as_at_inference() -> None:
    """GPT-2's rule makes one token of line ends where nothing follows, two where a word does."""
    tokenizer = byte_level_tokenizer()
    renderer = Renderer("alpaca", tokenizer)
    talk = [Message("user", "Hi"), Message("assistant", "Hello")]
    prompt = renderer.prompt(talk[:1])
    whole = tokenizer(written("alpaca", talk), add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt)] != prompt, "the trap is gone, and with it the reason for this test"
    assert renderer.encode([talk])[0][0].ids[: len(prompt)].tolist() == prompt


def test_own_template_of_the_tokenizer() -> None:
    tokenizer = byte_level_tokenizer()
    before = tokenizer.chat_template
    try:
        tokenizer.chat_template = jinja_of(TEMPLATES["qwen"])
        own, named = Renderer("tokenizer", tokenizer), Renderer("qwen", tokenizer)
        assert own.end == "<|im_end|>" and own.chat_template == tokenizer.chat_template
        for a, b in zip(own.encode([TALK])[0], named.encode([TALK])[0], strict=True):
            assert a.ids.tolist() == b.ids.tolist() and a.learnt.tolist() == b.learnt.tolist()
        tokenizer.chat_template = None
        with pytest.raises(BadInput, match="no chat_template of its own"):
            Renderer("tokenizer", tokenizer)
    finally:
        tokenizer.chat_template = before


def test_templates_that_cannot_be_honoured() -> None:
    with pytest.raises(BadInput, match=r"template 'nope': known are alpaca, llama2"):
        Renderer("nope", byte_level_tokenizer())
    engine = llama_tokenizer()
    import copy

    bare = copy.deepcopy(engine)
    bare.name_or_path = "base"
    bare.get_vocab = dict
    with pytest.raises(BadInput, match=r"template chatml: .*no token '<\|im_start\|>'"):
        Renderer("chatml", bare)
