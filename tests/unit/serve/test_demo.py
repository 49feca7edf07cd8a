from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.serve.demo import Controls, asked, plain, unanswered, wanted
from langraft.serve.engine import EngineError
from langraft.serve.local import TransformersEngine


def settings(**changed: Any) -> Controls:
    usual: dict[str, Any] = {
        "system": "",
        "negative": "",
        "tokens": 8,
        "temperature": 0.2,
        "top_p": 0.9,
        "top_k": 40,
        "repetition": 1.1,
        "presence": 0.0,
        "memory": 200,
        "guidance": 1.0,
        "draft": 4,
    }
    return Controls(**usual | changed)


def test_the_controls_reach_the_engine_and_old_turns_are_forgotten(model: Path) -> None:
    async def work() -> None:
        engine = TransformersEngine(model, "m")
        await engine.start()
        turns = [{"role": "user", "content": [{"type": "text", "text": "早上好"}]}]
        made = await wanted(engine, turns, settings(system="be brief", guidance=1.5, negative="no"))
        assert made.prompt.startswith("<|im_start|>system\nbe brief<|im_end|>")  # type: ignore[union-attr]
        assert (made.top_k, made.repetition_penalty, made.guidance) == (40, 1.1, 1.5)
        assert made.negative is not None
        assert made.negative.startswith("<|im_start|>system\nno<|im_end|>")
        assert made.draft_tokens is None
        long = [
            {"role": role, "content": text * 30}
            for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))
        ]
        made = await wanted(engine, long, settings(memory=128))
        assert "aaa" not in str(made.prompt)
        assert "ccc" in str(made.prompt)
        with pytest.raises(EngineError, match="this message takes"):
            await wanted(engine, [{"role": "user", "content": "x" * 400}], settings())

    asyncio.run(work())


def test_turns_are_read_and_cut() -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert unanswered(turns) == turns[:1]
    assert unanswered(turns, turns[:1]) == (turns[:1], turns[:1])
    assert plain([{"role": "user", "content": [{"type": "text", "text": "x"}]}]) == [
        {"role": "user", "content": "x"}
    ]


@given(st.text(max_size=30))
def test_what_the_chat_box_holds_is_no_markup_and_comes_back(text: str) -> None:
    empty, turns = asked("x" + text, [])
    assert empty == ""
    assert "<" not in turns[0]["content"]
    assert plain(turns) == [{"role": "user", "content": "x" + text}]
