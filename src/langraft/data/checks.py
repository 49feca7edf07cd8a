"""A dataset looked at before a run: what is learnt from it, and what cannot be."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langraft.core.errors import BadInput
from langraft.data.conversations import Conversation, flaw_of, read_conversations
from langraft.data.encode import Encoded, Renderer, cut
from langraft.data.objects import Unfit
from langraft.data.samples import Samples, lay

BATCH = 512  # conversations that are tokenised together
EXAMPLES = 5


@dataclasses.dataclass
class Report:
    """What a dataset holds.

    Attributes:
        conversations, turns, samples, tokens, learnt: counts; `learnt` are tokens with a loss.
        truncated: samples that were cut at the longest length.
        masked: samples left out because no learnt token was left behind the cut.
        unfit: records that cannot be learnt from, each with file, line and reason.
    """

    conversations: int = 0
    turns: int = 0
    samples: int = 0
    tokens: int = 0
    learnt: int = 0
    truncated: int = 0
    masked: int = 0
    longest: int = 0
    unfit: list[Unfit] = dataclasses.field(default_factory=list)

    def numbers(self) -> dict[str, Any]:
        """The counts and shares, and the first reasons, JSON-able."""
        found = dataclasses.asdict(self) | {"unfit": len(self.unfit)}
        found["truncated_share"] = round(self.truncated / max(1, self.samples + self.masked), 5)
        found["learnt_share"] = round(self.learnt / max(1, self.tokens), 5)
        return found | {"examples": [str(unfit) for unfit in self.unfit[:EXAMPLES]]}


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Samples that can be learnt from, the conversation that each came from, and the report."""

    samples: Samples
    sources: list[Conversation]
    report: Report


def read_all(
    paths: Sequence[Path], layout: str | None = None, min_score: float | None = None
) -> Iterator[Conversation | Unfit]:
    """The conversations of some files, one that cannot be learnt from as the reason why.

    Args:
        min_score: records with a lower score are left out; so are those without one.
    """
    for found in itertools.chain.from_iterable(read_conversations(p, layout) for p in paths):
        if isinstance(found, Unfit):
            yield found
            continue
        flaw = flaw_of(found.messages)
        if flaw:
            yield Unfit(found.path, found.line, flaw)
        elif min_score is None:
            yield found
        elif found.score is None:
            yield Unfit(found.path, found.line, "min_score is set, but the record has no score")
        elif found.score >= min_score:
            yield found


def encode_all(found: Iterable[Conversation | Unfit], renderer: Renderer, longest: int) -> Dataset:
    """Render and tokenise every conversation; samples longer than `longest` tokens are cut.

    Raises:
        BadInput: nothing can be learnt from; the message names the first reason.
    """
    report = Report()
    samples: list[Encoded] = []
    sources: list[Conversation] = []
    for batch in _batches(found, report):
        encoded = renderer.encode([conversation.messages for conversation in batch])
        for conversation, own in zip(batch, encoded, strict=True):
            for sample in own:
                kept = _keep(sample, conversation, longest, report)
                if kept is not None:
                    samples.append(kept)
                    sources.append(conversation)
    if not samples:
        first = f"; the first: {report.unfit[0]}" if report.unfit else ""
        raise BadInput(
            f"there is nothing to learn from: {len(report.unfit)} records refused{first}"
        )
    return Dataset(lay(samples), sources, report)


def _batches(found: Iterable[Conversation | Unfit], report: Report) -> Iterator[list[Conversation]]:
    batch: list[Conversation] = []
    for conversation in found:
        if isinstance(conversation, Unfit):
            report.unfit.append(conversation)
            continue
        report.conversations += 1
        report.turns += len(conversation.messages)
        batch.append(conversation)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _keep(
    sample: Encoded, conversation: Conversation, longest: int, report: Report
) -> Encoded | None:
    kept = cut(sample, longest)
    report.longest = max(report.longest, len(sample.ids))
    report.truncated += len(sample.ids) > longest
    if not kept.learnt[1:].any():
        report.masked += 1
        why = (
            f"no label is left: the question alone is {int(np.argmax(sample.learnt))} tokens and a "
            f"sample at most {longest}"
        )
        report.unfit.append(Unfit(conversation.path, conversation.line, why))
        return None
    report.samples += 1
    report.tokens += len(kept.ids)
    report.learnt += int(kept.learnt.sum())
    return kept
