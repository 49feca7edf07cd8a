"""Speculative decoding: tokens a second with a draft model against without, same answers.

    python benchmarks/serve_draft.py FILE.gguf DRAFT.gguf [--tokens 64] [--rounds 3] [--json FILE]

Greedy, one client, llama.cpp; the two engines answer the same prompts in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path

from langraft.serve.engine import End, Generation
from langraft.serve.llama import LlamaEngine

PROMPTS = ("The capital of France is", "def fib(n):\n", "第一条 为了保护公民的权利，")


async def speed(engine: LlamaEngine, tokens: int) -> tuple[float, list[str], int, int]:
    """Tokens a second over the prompts, the answers, tokens drafted and accepted."""
    answers, count, drafted, accepted = [], 0, 0, 0
    started = time.perf_counter()
    for prompt in PROMPTS:
        text = ""
        async for piece in engine.generate(Generation(prompt, tokens, temperature=0)):
            if isinstance(piece, End):
                count += piece.completion_tokens
                drafted += piece.drafted
                accepted += piece.accepted
            else:
                text += piece.text
        answers.append(text)
    return count / (time.perf_counter() - started), answers, drafted, accepted


async def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("draft", type=Path)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--draft-tokens", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    plain = LlamaEngine(options.file, "plain", context=1024, slots=1)
    helped = LlamaEngine(
        *(options.file, "helped"),
        context=1024,
        slots=1,
        draft=options.draft,
        draft_tokens=options.draft_tokens,
    )
    await plain.start()
    await helped.start()
    try:
        runs = [
            (await speed(plain, options.tokens), await speed(helped, options.tokens))
            for _ in range(options.rounds)
        ]
    finally:
        await plain.stop()
        await helped.stop()
    alone, drafted = (statistics.median(run[side][0] for run in runs) for side in (0, 1))
    same = all(one[1] == other[1] for one, other in runs)
    kept = sum(other[3] for _, other in runs) / max(1, sum(other[2] for _, other in runs))
    found = {"plain": alone, "draft": drafted, "ratio": drafted / alone, "kept": kept, "same": same}
    print(
        f"{drafted:.1f} tokens/s with the draft, {alone:.1f} without: {drafted / alone:.2f}x; "
        f"{kept:.0%} of the drafted tokens kept; answers {'equal' if same else 'differ'}"
    )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
