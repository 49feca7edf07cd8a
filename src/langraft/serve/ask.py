"""Questions about documents: retrieve, put into prompts, answer with citations, summarise."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput, RunFailed
from langraft.core.messages import say, track
from langraft.serve.chat import CONTROLS
from langraft.serve.documents import Bm25, Passage, read_folder, split
from langraft.serve.engine import End, Engine, EngineError, Generation

FUSION = 60
Prompt = Callable[[str], Awaitable[str]]

# One set of prompts a script: a model adapted to Chinese answers in it when it is asked in it.
PROMPTS = {
    "zh": {
        "stuff": "已知信息：\n{passages}\n\n请只根据以上信息，简洁地用中文回答问题，"
        "并注明所依据的编号，如[1]。信息不足时请说“资料中没有答案”。\n问题：{question}",
        "refine": "问题：{question}\n现有答案：{answer}\n\n补充信息：\n{passages}\n\n"
        "如果补充信息有用，请用它改进答案，否则原样重复现有答案。只写答案。",
        "map": "已知信息：\n{passages}\n\n请摘出其中与下列问题有关的内容；"
        "没有就写“无”。\n问题：{question}",
        "summary": "请用中文简要概括下面的内容：\n{passages}",
    },
    "en": {
        "stuff": "Passages:\n{passages}\n\nAnswer the question from these passages only, briefly, "
        "and cite the numbers you used, like [1]. If they do not hold the answer, say so.\n"
        "Question: {question}",
        "refine": "Question: {question}\nAnswer so far: {answer}\n\nMore passages:\n{passages}\n\n"
        "If they help, improve the answer with them, otherwise repeat it. Write only the answer.",
        "map": "Passages:\n{passages}\n\nWrite down what they say about the question below, or "
        "`nothing`.\nQuestion: {question}",
        "summary": "Summarise briefly:\n{passages}",
    },
}


def ask(
    engine: Engine,
    docs: Path,
    question: str | None,
    *,
    mode: str,
    passages: int,
    tokens: int,
    embeddings: bool = False,
) -> dict[str, Any]:
    """Answer `question` from the documents in `docs`, or summarise them when it is None.

    Args:
        mode: "stuff" (all passages in one prompt), "refine" (one after another, improving the
            answer) or "map-reduce" (each on its own, then the findings together).
        passages: how many may be used.
        tokens: the longest answer.
        embeddings: rank by the engine's vectors as well, both rankings counting alike.

    Returns:
        answer, mode, citations: [{number, file, start, text}].

    Raises:
        BadInput: no documents, or none that shares a term with the question.
    """
    if passages < 1:
        raise BadInput(f"--passages {passages}: must be at least 1")
    pieces = [piece for file, text in read_folder(docs) for piece in split(file, text)]
    answer, chosen = asyncio.run(_run(engine, question, pieces, passages, mode, tokens, embeddings))
    sys.stdout.write(CONTROLS.sub("", answer).strip() + "\n")
    for number, piece in enumerate(chosen, 1):
        sys.stdout.write(f"[{number}] {piece.file} at character {piece.start:,}\n")
    cited = [
        {"number": n, "file": p.file, "start": p.start, "text": p.text}
        for n, p in enumerate(chosen, 1)
    ]
    return {"answer": answer.strip(), "mode": mode if question else "summary", "citations": cited}


async def _run(
    engine: Engine,
    question: str | None,
    pieces: Sequence[Passage],
    count: int,
    mode: str,
    tokens: int,
    embeddings: bool,
) -> tuple[str, list[Passage]]:
    async def prompt(text: str) -> str:
        return await _complete(engine, text, tokens)

    if question is None:
        chosen = list(pieces[:: max(1, -(-len(pieces) // count))])
    elif not embeddings:
        chosen = Bm25(pieces).best(question, count)
        if not chosen:
            raise BadInput(f"no passage shares a word with the question {question!r}")
    await engine.start()
    try:
        if question is not None and embeddings:
            chosen = await nearest(engine, question, pieces, count)
        say(f"{len(pieces):,} passages, {len(chosen)} used")
        if question is None:
            return await summarise(prompt, chosen), chosen
        return await MODES[mode](prompt, question, chosen), chosen
    except EngineError as error:
        raise RunFailed(str(error)) from error
    finally:
        await engine.stop()


async def nearest(
    engine: Engine, question: str, pieces: Sequence[Passage], count: int
) -> list[Passage]:
    """The `count` best passages by BM25 and the engine's vectors together (reciprocal rank fusion,
    Cormack et al. 2009).
    """
    asked, _ = await engine.embed(question)
    vectors = [
        (await engine.embed(piece.text))[0]
        for piece in track(pieces, "embedding", len(pieces), "passages")
    ]
    alike = [sum(a * b for a, b in zip(asked, vector, strict=True)) for vector in vectors]
    fused = [0.0] * len(pieces)
    for scores in (Bm25(pieces).scores(question), alike):
        order = sorted(range(len(pieces)), key=lambda n: (-scores[n], n))
        for rank, n in enumerate(order):
            fused[n] += 1 / (FUSION + rank)
    best = sorted(range(len(pieces)), key=lambda n: (-fused[n], n))
    return [pieces[n] for n in best[:count]]


async def _complete(engine: Engine, text: str, tokens: int) -> str:
    rendered = await engine.render([{"role": "user", "content": text}])
    used = await engine.count(rendered)
    if used + tokens > engine.context:
        raise BadInput(
            f"the passages take {used:,} tokens and the answer {tokens:,}, the model reads "
            f"{engine.context:,}; use fewer --passages or --mode refine"
        )
    pieces = engine.generate(Generation(rendered, tokens, temperature=0.0, seed=0))
    return "".join([p.text async for p in pieces if not isinstance(p, End)]).strip()


def _words(question: str) -> dict[str, str]:
    return PROMPTS["zh" if any("\u3400" <= c <= "\u9fff" for c in question) else "en"]


def _listed(texts: Sequence[str], first: int = 1) -> str:
    return "\n".join(f"[{n}] {text.strip()}" for n, text in enumerate(texts, first))


async def stuff(prompt: Prompt, question: str, chosen: Sequence[Passage]) -> str:
    """All passages in one prompt."""
    listed = _listed([piece.text for piece in chosen])
    return await prompt(_words(question)["stuff"].format(passages=listed, question=question))


async def refine(prompt: Prompt, question: str, chosen: Sequence[Passage]) -> str:
    """An answer from the first passage, improved by each of the others."""
    answer = await stuff(prompt, question, chosen[:1])
    for number, piece in enumerate(chosen[1:], 2):
        listed = _listed([piece.text], number)
        words = _words(question)["refine"]
        answer = await prompt(words.format(passages=listed, question=question, answer=answer))
    return answer


async def map_reduce(prompt: Prompt, question: str, chosen: Sequence[Passage]) -> str:
    """What each passage says of the question, then one answer from all of that."""
    words = _words(question)
    notes = [
        await prompt(words["map"].format(passages=_listed([piece.text], n), question=question))
        for n, piece in enumerate(track(chosen, "reading", len(chosen), "passages"), 1)
    ]
    return await prompt(words["stuff"].format(passages=_listed(notes), question=question))


async def summarise(prompt: Prompt, chosen: Sequence[Passage]) -> str:
    """A summary of each passage, then one of them all."""
    words = _words(chosen[0].text)
    notes = [
        await prompt(words["summary"].format(passages=piece.text))
        for piece in track(chosen, "reading", len(chosen), "passages")
    ]
    return (
        notes[0]
        if len(notes) == 1
        else await prompt(words["summary"].format(passages="\n".join(notes)))
    )


MODES = {"stuff": stuff, "refine": refine, "map-reduce": map_reduce}
