from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

import pytest

from langraft.core.errors import BadInput
from langraft.serve.ask import ask
from langraft.serve.documents import terms
from langraft.serve.engine import End, Generation, Piece
from langraft.serve.local import TransformersEngine

QUESTION = "合同什么时候生效？"


class Recorder:
    """An engine that answers with the number of its prompts, and keeps them."""

    name, context, slots, guides, drafts = "recorder", 4_000, 1, False, False

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def alive(self) -> bool:
        return True

    async def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        return messages[-1]["content"]

    async def count(self, prompt: str | Sequence[int]) -> int:
        return len(prompt)

    def most(self, prompt: str | Sequence[int]) -> float:
        return math.inf

    async def spell(self, ids: Sequence[int]) -> str:
        return ""

    async def generate(self, wanted: Generation) -> AsyncGenerator[Piece | End, None]:
        assert isinstance(wanted.prompt, str)
        self.prompts.append(wanted.prompt)
        yield Piece(f"答案{len(self.prompts)}[1]")
        yield End("stop", 1, 1)

    async def embed(self, text: str | Sequence[int]) -> tuple[list[float], int]:
        assert isinstance(text, str)
        vector = [0.0] * 64
        for term in terms(text):
            vector[sum(map(ord, term)) % 64] += 1
        norm = sum(x * x for x in vector) ** 0.5 or 1.0
        return [x / norm for x in vector], 1


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "law.txt").write_text("依法成立的合同，自成立时生效。\n" + "其他规定。" * 200)
    (folder / "cooking.txt").write_text("番茄炒蛋的做法：先炒蛋。")
    (folder / "more.txt").write_text("合同的效力可以约定附期限。合同生效后，当事人应当履行。")
    return folder


def asked(docs: Path, question: str | None, mode: str, count: int = 2) -> tuple[dict, list[str]]:  # type: ignore[type-arg]
    engine = Recorder()
    return ask(engine, docs, question, mode=mode, passages=count, tokens=50), engine.prompts


def test_stuff_puts_the_best_passages_into_one_prompt(
    docs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, prompts = asked(docs, QUESTION, "stuff")
    assert len(prompts) == 1
    assert "[1]" in prompts[0]
    assert "[2]" in prompts[0]
    assert QUESTION in prompts[0]
    assert "番茄" not in prompts[0]
    assert {c["file"] for c in found["citations"]} == {"law.txt", "more.txt"}
    out = capsys.readouterr().out
    assert "答案1[1]" in out
    assert "[1] " in out.splitlines()[1]


def test_refine_improves_the_answer_passage_by_passage(docs: Path) -> None:
    found, prompts = asked(docs, QUESTION, "refine")
    assert len(prompts) == 2
    assert "答案1" in prompts[1]
    assert "[2]" in prompts[1]
    assert found["answer"] == "答案2[1]"


def test_map_reduce_reads_each_and_answers_from_the_notes(docs: Path) -> None:
    found, prompts = asked(docs, QUESTION, "map-reduce")
    assert len(prompts) == 3
    assert "答案1" in prompts[2]
    assert "答案2" in prompts[2]
    assert found["answer"] == "答案3[1]"


def test_without_a_question_the_documents_are_summarised(docs: Path) -> None:
    found, prompts = asked(docs, None, "stuff", 3)
    assert found["mode"] == "summary"
    assert len(prompts) == len(found["citations"]) + 1
    assert "番茄" in "".join(prompts)


def test_an_english_question_gets_english_prompts(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("The contract takes effect on signing.")
    _, prompts = asked(tmp_path, "When does the contract take effect?", "stuff")
    assert prompts[0].startswith("Passages:")


def test_embeddings_rank_beside_bm25(docs: Path) -> None:
    engine = Recorder()
    found = ask(*(engine, docs, QUESTION), mode="stuff", passages=1, tokens=50, embeddings=True)
    assert "生效" in found["citations"][0]["text"]


def test_what_cannot_be_answered_says_why(docs: Path) -> None:
    with pytest.raises(BadInput, match="shares a word"):
        asked(docs, "zebra", "stuff")
    with pytest.raises(BadInput, match="--passages 0"):
        asked(docs, QUESTION, "stuff", 0)
    engine = Recorder()
    engine.context = 60
    with pytest.raises(BadInput, match="fewer --passages"):
        ask(engine, docs, QUESTION, mode="stuff", passages=2, tokens=50)


def test_a_real_model_answers(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("abc def.")
    engine = TransformersEngine(model, "tiny", context=256)
    with pytest.raises(BadInput, match="the model reads 256"):
        ask(engine, tmp_path, "abc?", mode="stuff", passages=1, tokens=200)
    found = ask(engine, tmp_path, None, mode="stuff", passages=1, tokens=8)
    assert isinstance(found["answer"], str)
    asyncio.run(engine.stop())
