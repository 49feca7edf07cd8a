"""The steps that a shard goes through, as a table; each says what it dropped, changed and noted."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.account import SNIPPET, Account
from langraft.corpus.kernels.lines import long_lines, without
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.plan import Plan
from langraft.corpus.redact import redact
from langraft.corpus.rules import judge
from langraft.corpus.sensitive import Detector, read_lists

MENTIONS = 5  # examples of a document's mentions


@dataclasses.dataclass
class Batch:
    """The documents of a shard that are left, and what is known of each.

    Attributes:
        source: the number of their source.
        texts: their texts as they are now.
        paths: the files of the source, as the recipe would write them.
        files, lines: where each document came from: a place in `paths`, and a line.
        rows: the number that each document had in the shard at first.
        notes: by that number, what the steps noted; most documents have none.
        rewritten: whether a step changed any text.
    """

    source: int
    texts: Texts
    paths: Sequence[str]
    files: npt.NDArray[np.int32]
    lines: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    notes: dict[int, dict[str, Any]] = dataclasses.field(default_factory=dict)
    rewritten: bool = False

    def place(self, row: int) -> str:
        """The file and line that a document came from."""
        return f"{self.paths[self.files[row]]}:{self.lines[row]}"

    def note(self, row: int) -> dict[str, Any]:
        """What is noted of a document, to be added to."""
        return self.notes.setdefault(int(self.rows[row]), {})

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        """Only the documents with these numbers stay."""
        self.texts = self.texts.take(rows)
        self.files, self.lines, self.rows = self.files[rows], self.lines[rows], self.rows[rows]


@dataclasses.dataclass
class Outcome:
    """What a step found.

    Attributes:
        dropped: reason and the numbers behind it, of every dropped document by its number.
        texts: the texts, where the step changed any.
        changed: documents or places by kind, for the account, with examples.
    """

    dropped: dict[int, tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=dict)
    texts: Texts | None = None
    changed: dict[str, int] = dataclasses.field(default_factory=dict)
    examples: list[tuple[str, int, dict[str, Any]]] = dataclasses.field(default_factory=list)


StepFunction = Callable[[Plan, Batch], Outcome]


def strip_html(plan: Plan, batch: Batch) -> Outcome:
    """Tags and entities of documents that hold any are taken out or spelled out."""
    from langraft.corpus.html import plain

    changes = {
        row: after
        for row in range(len(batch.texts))
        if (after := plain(batch.texts.encoded(row))) is not None
    }
    shown = [("html", row, {"snippet": batch.texts[row][:SNIPPET]}) for row in [*changes][:10]]
    changed = {"html": len(changes)} if changes else {}
    return Outcome(texts=batch.texts.replaced(changes), changed=changed, examples=shown)


def cut_boilerplate(plan: Plan, batch: Batch) -> Outcome:
    """Lines that many documents of the source share are cut out; what is empty then, goes."""
    wanted = plan.corpus.clean.boilerplate
    assert wanted is not None
    path = plan.work / "read" / f"boilerplate-{batch.source:03}.npy"
    blocked = np.load(path)
    lines = long_lines(batch.texts, wanted.characters)
    hit = np.isin(lines.hashes, blocked)
    view = batch.texts.data
    examples = []
    for at in np.flatnonzero(hit)[:10].tolist():
        line = view[lines.starts[at] : lines.ends[at]].tobytes().decode().strip()
        examples.append(("line", int(lines.texts[at]), {"snippet": line[:SNIPPET]}))
    texts = without(batch.texts, lines.starts[hit], lines.ends[hit]) if hit.any() else None
    empty = np.flatnonzero(texts.sizes == 0).tolist() if texts is not None else []
    return Outcome(
        {row: ("boilerplate", {}) for row in empty},
        texts,
        {"line": int(hit.sum()), "text": len(np.unique(lines.texts[hit]))} if hit.any() else {},
        examples,
    )


def mark_language(plan: Plan, batch: Batch) -> Outcome:
    """Each document's language goes into its notes; other languages are dropped where asked."""
    source, wanted = plan.corpus.sources[batch.source], plan.corpus.language
    out = Outcome()
    assert plan.tools.identify is not None
    for row, found in enumerate(plan.tools.identify.identify(list(batch.texts))):
        noted = batch.note(row)
        noted["language"] = found.language
        if found.mixed:
            noted["shares"] = {k: round(v, 3) for k, v in found.shares.items()}
            out.changed["mixed"] = out.changed.get("mixed", 0) + 1
        elif found.language != source.language:
            kind = f"in {found.language}"
            if wanted.drop and found.confidence >= wanted.least and found.language != "und":
                shown = {"value": round(found.confidence, 4), "limit": wanted.least}
                out.dropped[row] = ("language", {"language": found.language, **shown})
            else:
                out.changed[kind] = out.changed.get(kind, 0) + 1
    return out


def hold_to_rules(plan: Plan, batch: Batch) -> Outcome:
    """Every document that breaks a threshold goes."""
    verdicts = judge(batch.texts, plan.limits[batch.source])
    return Outcome(
        {
            row: (found.reason, {"value": round(found.value, 4), "limit": found.limit})
            for row, found in enumerate(verdicts)
            if not found.kept
        }
    )


def hide_private(plan: Plan, batch: Batch) -> Outcome:
    """E-mail addresses, numbers and keys become labels."""
    texts, counts, changes = redact(batch.texts, plan.corpus.redact)
    shown = [("text", row, {"snippet": _around(changes[row])}) for row in [*changes][:10]]
    changed = {"text": len(changes), **counts} if changes else {}
    return Outcome(texts=texts, changed=changed, examples=shown)


def _around(text: str) -> str:
    """The text around its first label."""
    first = min((at for kind in LABELS if (at := text.find(kind)) >= 0), default=0)
    return text[max(0, first - SNIPPET // 2) : first + SNIPPET // 2]


LABELS = ("<email>", "<identity>", "<phone>", "<ip>", "<key>")


def avoid_topics(plan: Plan, batch: Batch) -> Outcome:
    """Documents with too many mentions of a category's terms go; all mentions are counted."""
    detector = Detector(read_lists(map(Path, plan.sensitive_files)))
    out = Outcome()
    for row, (found, broken) in enumerate(detector.judge(batch.texts)):
        for name, count in found.items():
            out.changed[name] = out.changed.get(name, 0) + count
        if broken:
            out.dropped[row] = (f"sensitive: {broken}", {"mentions": found})
    return out


def remove_benchmarks(plan: Plan, batch: Batch) -> Outcome:
    """Documents that hold benchmark items go, or lose the sentences that do."""
    from langraft.corpus.decontaminate import cut

    assert plan.tools.contamination is not None
    out, changes = Outcome(), {}
    for row, hits in enumerate(plan.tools.contamination.hits(list(batch.texts))):
        if not hits:
            continue
        batch.note(row)["hits"] = [
            {"suite": hit.suite, "item": hit.item, "share": round(hit.share, 3)} for hit in hits
        ]
        first = {"suite": hits[0].suite, "item": hits[0].item, "value": round(hits[0].share, 3)}
        if plan.corpus.decontaminate.action == "remove":
            out.dropped[row] = (f"benchmark: {hits[0].suite}", {**first, "hits": len(hits)})
        else:
            changes[row] = cut(batch.texts[row], hits)
            out.examples.append(("text", row, first))
    if changes:
        out.texts, out.changed = batch.texts.replaced(changes), {"text": len(changes)}
    return out


def score(plan: Plan, batch: Batch) -> Outcome:
    """Each document's score goes into its notes; the cut comes when all scores are known."""
    assert plan.tools.scorer is not None
    found = plan.tools.scorer.scores(list(batch.texts))
    for row, value in zip(range(len(batch.texts)), found, strict=True):
        batch.note(row)["score"] = {plan.tools.scorer.name: round(float(value), 6)}
    return Outcome()


# Name, whether a recipe asks for it, and the step itself; in this order.
STEPS: Sequence[tuple[str, Callable[[Plan], bool], StepFunction]] = (
    ("boilerplate", lambda plan: plan.corpus.clean.boilerplate is not None, cut_boilerplate),
    ("html", lambda plan: plan.corpus.clean.html, strip_html),
    ("language", lambda plan: plan.tools.identify is not None, mark_language),
    ("rules", lambda plan: True, hold_to_rules),
    ("redact", lambda plan: bool(plan.corpus.redact), hide_private),
    ("sensitive", lambda plan: bool(plan.sensitive_files), avoid_topics),
    ("decontaminate", lambda plan: plan.tools.contamination is not None, remove_benchmarks),
    ("score", lambda plan: plan.tools.scorer is not None, score),
)


def apply_steps(plan: Plan, batch: Batch, account: Account) -> list[dict[str, Any]]:
    """Take `batch` through every step that the recipe asks for.

    Returns:
        The benchmark hits of all documents, whether they stay or not.
    """
    hits: list[dict[str, Any]] = []
    for name, wanted, function in STEPS:
        if not wanted(plan) or not len(batch.texts):
            continue
        started = time.thread_time()
        step = account.step(name)
        before = batch.texts
        step.documents += len(before)
        step.size += len(before.data)
        outcome = function(plan, batch)
        _take_in(outcome, batch, step)
        if name == "decontaminate":
            hits += _listed(before, batch, outcome)
        if outcome.dropped:
            batch.keep(np.delete(np.arange(len(before)), list(outcome.dropped)))
        step.after += len(batch.texts.data)
        step.seconds += time.thread_time() - started
    return hits


def _take_in(outcome: Outcome, batch: Batch, step: Any) -> None:
    sizes = batch.texts.sizes
    for row, (reason, numbers) in outcome.dropped.items():
        shown = {}
        if step.dropped[reason] < 10:
            shown = {"place": batch.place(row), **numbers, "snippet": batch.texts[row][:SNIPPET]}
        step.drop(reason, int(sizes[row]), shown)
    for what, count in outcome.changed.items():
        step.changed[what] += count
    for what, row, numbers in outcome.examples:
        example = {"reason": what, "changed": True, "place": batch.place(row), **numbers}
        step.examples.append(example)
    if outcome.texts is not None and outcome.texts is not batch.texts:
        batch.texts, batch.rewritten = outcome.texts, True


def _listed(texts: Texts, batch: Batch, outcome: Outcome) -> list[dict[str, Any]]:
    return [
        {**hit, "document": batch.place(row), "text": texts[row][:SNIPPET]}
        for row, number in enumerate(batch.rows.tolist())
        if number in batch.notes
        for hit in batch.notes[number].pop("hits", ())
    ]
