"""What was done and with what: the corpus, the tokenizer's proofs, samples, stage timings,
provenance, next commands.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.report.corpus import Step, steps
from langraft.report.run import Run
from langraft.report.scores import languages, new_language, tokens_per_character
from langraft.report.words import duration, figure, language, size


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a source's documents: where they went, how many, and their share from 0 to 100."""

    label: str
    count: int
    share: float
    tone: str


@dataclasses.dataclass(frozen=True)
class Source:
    """One corpus source and where its documents went."""

    name: str
    language: str
    bucket: str
    documents: int
    segments: Sequence[Segment]
    trained: str
    held_out: str


@dataclasses.dataclass(frozen=True)
class Proof:
    """One proof of the tokenizer contract."""

    name: str
    passed: bool
    checked: str
    counterexample: str


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokenizer before and after; `rates` holds source, tokens per character before and after,
    and the factor.
    """

    facts: Sequence[tuple[str, str]]
    rates: Sequence[tuple[str, str, str, str]]
    proofs: Sequence[Proof]


@dataclasses.dataclass(frozen=True)
class Timing:
    """One stage: its seconds, their share from 0 to 100 of the longest stage, and what came of it
    in a line.
    """

    stage: str
    seconds: str
    share: float
    outcome: str


@dataclasses.dataclass(frozen=True)
class Origin:
    """What one stage was made from and what it wrote: (name, sha256) pairs."""

    stage: str
    inputs: Sequence[tuple[str, str]]
    outputs: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Command:
    """A line to type, and what it is for."""

    purpose: str
    line: str


def title(run: Run) -> str:
    """What was taught to what."""
    base = Path(str(run.recipe.get("base") or "")).name
    code = new_language(run)
    if base and code:
        return f"Teaching {base} {language(code)}"
    return str(run.recipe.get("name") or run.folder.name)


def lede(run: Run) -> str:
    """One sentence of sizes: pieces added, tokens trained on, time, machine."""
    parts, words = [], run.results("tokenizer")
    if words.get("added_pieces"):
        parts.append(
            f"{words['added_pieces']:,} pieces joined a vocabulary of {words['base_pieces']:,}"
        )
    tokens = sum(run.results(stage).get("tokens", 0) for stage in run.training_stages())
    if tokens:
        parts.append(f"{tokens:,} tokens were trained on")
    seconds = sum(manifest.get("seconds", 0) for manifest in run.manifests.values())
    if seconds:
        names = machines(run)
        on = f" on {' and '.join(names)}" if names else ""
        parts.append(f"{duration(seconds)}{on}")
    return "; ".join(parts) + "." if parts else ""


def machines(run: Run) -> list[str]:
    """The processors that stages ran on, each once."""
    return list(dict.fromkeys(str(m["device"]) for m in run.manifests.values() if m.get("device")))


def verdict(run: Run) -> str:
    """What came of it, in a sentence; empty before the evaluation."""
    judged = run.results("eval").get("targets", ())
    missed = [target["name"] for target in judged if not target["met"]]
    if not judged:
        return ""
    if not missed:
        return "Every target was met." if len(judged) > 1 else "The target was met."
    of = f"{len(missed)} of {len(judged)} targets" if len(judged) > 1 else "The target"
    return f"{of} missed: {'; '.join(missed)}."


def unfinished(run: Run) -> str:
    """Which stages the recipe still asks for, as a sentence; empty when all are there."""
    asked = [name for name in ("corpus", "tokenizer", "graft") if run.recipe.get(name)]
    asked += [f"pretrain-{part['name']}" for part in run.recipe.get("pretrain") or ()]
    asked += ["eval"] if run.recipe.get("eval") else []
    missing = [name for name in asked if name not in run.manifests]
    if not missing:
        return ""
    return f"This run has not reached its end: {', '.join(missing)} still to do."


def sources(run: Run) -> list[Source]:
    """Every corpus source with the way its documents went."""
    return [
        _source(name, found) for name, found in run.results("corpus").get("sources", {}).items()
    ]


def waterfall(run: Run) -> list[Step]:
    """What each step of the corpus left, all sources together; empty where the corpus does not say.

    The last step sets the hold-out aside and drops nothing.
    """
    found: dict[str, dict[str, Any]] = {}
    for source in run.results("corpus").get("sources", {}).values():
        for step in source.get("steps", ()):
            name = step["step"]
            whole = found.setdefault(name, {"step": name, "documents": 0, "bytes": 0})
            whole["documents"] += step["documents"]
            whole["bytes"] += step["bytes"]
            for kind in ("dropped", "changed"):
                counts = whole.setdefault(kind, {})
                for reason, count in step[kind].items():
                    counts[reason] = counts.get(reason, 0) + count
    return steps([step for name, step in found.items() if name != "holdout"])


def _source(name: str, found: Mapping[str, Any]) -> Source:
    dropped = sorted(found.get("dropped", {}).items(), key=lambda item: -item[1])
    parts = [
        ("trained on", found["train_documents"], "new"),
        ("held out", found["holdout_documents"], "old"),
    ]
    parts += [
        ("duplicate", found.get("duplicates", 0), "graft"),
        ("malformed", found.get("malformed", 0), "limit"),
    ]
    parts += [
        (f"dropped: {reason}", count, f"drop{index % 4}")
        for index, (reason, count) in enumerate(dropped)
    ]
    total = sum(count for _, count, _ in parts) or 1
    segments = [
        Segment(label, count, round(100 * count / total, 3), tone)
        for label, count, tone in parts
        if count
    ]
    return Source(
        name,
        language(found["language"]),
        found.get("bucket", ""),
        found.get("read", total),
        segments,
        size(found["train_bytes"]),
        size(found["holdout_bytes"]),
    )


def vocabulary(run: Run) -> Vocabulary | None:
    """The tokenizer's numbers and proofs; None when the stage has not finished."""
    found = run.results("tokenizer")
    if not found:
        return None
    names = {
        "family": "family",
        "base_pieces": "pieces before",
        "added_pieces": "pieces added",
        "rows": "model rows",
    }
    facts = [(label, figure(found[key])) for key, label in names.items() if key in found]
    measured = tokens_per_character(run)
    rates = [
        (
            name,
            f"{measured[name][0]:.3f}",
            f"{measured[name][1]:.3f}",
            f"{measured[name][0] / measured[name][1]:.2f}",
        )
        for name in languages(run)
        if name in measured
    ]
    proofs = [
        Proof(
            str(p["name"]),
            bool(p["passed"]),
            figure(p["checked"]),
            _counterexample(p.get("counterexample")),
        )
        for p in found.get("proofs", ())
    ]
    return Vocabulary(facts, rates, proofs)


def _counterexample(value: Any) -> str:
    return "" if value in (None, "") else value if isinstance(value, str) else repr(value)


def samples(run: Run) -> list[tuple[str, str, str]]:
    """(prompt, the base's continuation, the new model's) of every sample."""
    found = run.results("eval").get("samples", ())
    return [(str(s["prompt"]), str(s.get("base", "")), str(s.get("adapted", ""))) for s in found]


def timings(run: Run) -> list[Timing]:
    """Every finished stage with its seconds and its outcome in a line."""
    longest = max((m.get("seconds", 0) for m in run.manifests.values()), default=0) or 1
    return [
        Timing(
            name,
            duration(m.get("seconds", 0)),
            round(100 * m.get("seconds", 0) / longest, 2),
            _outcome(run, name),
        )
        for name, m in run.manifests.items()
    ]


def _outcome(run: Run, stage: str) -> str:
    found = run.results(stage)
    if stage == "corpus" and "sources" in found:
        parts = found["sources"].values()
        documents, text = (sum(p[key] for p in parts) for key in ("train_documents", "train_bytes"))
        return f"{documents:,} documents, {size(text)}"
    if stage == "tokenizer" and "added_pieces" in found:
        return f"{found['added_pieces']:,} pieces added"
    if stage == "graft" and "method" in found:
        return f"{found['method']}, {'untied' if found.get('untied') else 'tied'} rows"
    if "loss_last" in found:
        speed = f"{found['tokens_per_second']:,.0f} tokens/s"
        losses = f"loss {found['loss_first']:.2f} to {found['loss_last']:.2f}"
        mix = ", ".join(
            f"{language(code)} {share:.1%}" for code, share in found.get("mix", {}).items()
        )
        return f"{found['train']}: {found['tokens']:,} tokens at {speed}, {losses}" + (
            f"; {mix}" if mix else ""
        )
    return ""


def origins(run: Run) -> list[Origin]:
    """The hashes of every stage's inputs and outputs."""
    return [
        Origin(name, sorted(m.get("inputs", {}).items()), sorted(m.get("outputs", {}).items()))
        for name, m in run.manifests.items()
    ]


def versions(run: Run) -> list[tuple[str, str]]:
    """Every package version that a stage recorded; several, in order, when the run went on after an
    upgrade.
    """
    found: dict[str, list[str]] = {}
    for manifest in run.manifests.values():
        for name, version in manifest.get("versions", {}).items():
            if version not in found.setdefault(name, []):
                found[name].append(version)
    return [(name, ", then ".join(seen)) for name, seen in found.items()]


def _stands_alone(run: Run) -> bool:
    """Whether the recipe in the run folder can be run from there: its paths are absolute."""
    listed = (run.recipe.get("corpus") or {}).get("sources") or ()
    paths = [path for source in listed for path in source["paths"]]
    return bool(run.recipe) and all(Path(path).is_absolute() for path in paths)


def commands(run: Run) -> list[Command]:
    """What to type next; the lines that need the finished model stand only where there is one."""
    folder = str(run.folder)
    found = []
    if model := run.results("eval").get("model"):
        path = str(model)
        found.append(Command("talk to the new model", shlex.join(["langraft", "chat", path])))
        load = f"AutoModelForCausalLM.from_pretrained({path!r})"
        found.append(
            Command(
                "load it in Python, without langraft",
                f"from transformers import AutoModelForCausalLM\nmodel = {load}",
            )
        )
    elif _stands_alone(run):
        line = ["langraft", "run", str(run.folder / "recipe.yaml"), "--out", folder]
        found.append(Command("go on where this run stopped", shlex.join(line)))
    if model and _stands_alone(run):
        again = ["langraft", "run", str(run.folder / "recipe.yaml"), "--out", f"{folder}-again"]
        found.append(Command("do it all again in another folder", shlex.join(again)))
    found.append(Command("write this page anew", shlex.join(["langraft", "report", folder])))
    return found
