"""Once all shards went through the steps: choices over all documents, and the files."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from langraft.core.io import open_atomic, write_atomic, write_json
from langraft.corpus import choosing
from langraft.corpus.account import EXAMPLES, Account
from langraft.corpus.collected import Documents, Mask, Numbers, Reader
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.leak import LARGEST_SHARE
from langraft.corpus.near import find_band, prepare
from langraft.corpus.plan import Plan, appearing
from langraft.corpus.running import run, spent
from langraft.corpus.writing import Frame, frames, guard_part, join, store_frames, write_frame

COUNTS, DROPPED, SAMPLES = "counts.json", "dropped.jsonl", "samples.jsonl"
CLUSTERS, HITS = "clusters.jsonl", "contamination.jsonl"
TRAIN, HOLDOUT, SUFFIX = "train", "holdout", ".jsonl.zst"
SHOWN_SAMPLES = 12  # of a source


def finish_corpus(
    plan: Plan,
    out: Path,
    cluster: str | None,
    accounts: list[Account],
    malformed: list[dict[str, Any]],
    documents: Documents,
    reader: Reader,
    extras: dict[str, list[Any]],
) -> dict[str, Any]:
    """Decide what needs all documents, write the files, and return what `build_corpus` returns."""
    _deduplicate(plan, cluster, accounts, documents, reader, extras)
    if plan.corpus.quality.cut != "none":
        choosing.cut_quality(plan, documents, reader, accounts)
    held = _hold_out(plan, documents, reader, accounts, cluster)
    trained = documents.alive & ~held
    bin_of = choosing.all_bins(plan, documents, trained)
    if plan.corpus.buckets.shares:
        tokens = choosing.tokens_of(plan, documents, trained, reader)
        kept = choosing.mix(plan, documents, trained, bin_of, tokens)
        choosing.drop(documents, reader, accounts, "mixture", trained & ~kept, choosing.MIXTURE)
        trained = kept
    parts = {TRAIN: trained, HOLDOUT: held}
    seconds = _write(plan, out, documents, parts, bin_of, cluster)
    counts: dict[str, Any] = {
        "sources": {
            source.name: _source(plan, number, documents, parts, accounts[number], malformed)
            for number, source in enumerate(plan.corpus.sources)
        },
        "steps": _steps(accounts),
        "tokens": _token_shares(
            plan, choosing.tokens_of(plan, documents, trained, reader), documents, trained, bin_of
        ),
    }
    _write_records(plan, out, accounts, malformed, extras)
    write_json(out / COUNTS, counts)
    return {**counts, "seconds": {**_seconds(accounts), "write": round(seconds, 2)}}


def _deduplicate(
    plan: Plan,
    cluster: str | None,
    accounts: list[Account],
    documents: Documents,
    reader: Reader,
    extras: dict[str, list[Any]],
) -> None:
    if plan.corpus.dedup.exact:
        started = time.thread_time()
        choosing.drop_copies(documents, reader, accounts)
        accounts[0].step("exact").seconds += time.thread_time() - started
    if plan.corpus.dedup.minhash is not None:
        chosen = prepare(plan, documents)
        bands = [str(band) for band in range(plan.corpus.dedup.minhash.bands)]
        size = int(documents.size.sum())
        notes = run(plan, "near duplicates", find_band, bands, cluster, size)
        started = time.thread_time()
        _, extras["clusters"] = choosing.drop_near_copies(plan, documents, chosen, reader, accounts)
        accounts[0].step("minhash").seconds += spent(notes) + time.thread_time() - started


def _hold_out(
    plan: Plan, documents: Documents, reader: Reader, accounts: list[Account], cluster: str | None
) -> Mask:
    """Set every source's hold-out aside; what equals or nearly equals any of it is dropped."""
    held = np.zeros(len(documents), bool)
    for source, account in enumerate(accounts):
        held |= choosing.held_out(plan, documents, source, account)
    numbers = np.flatnonzero(held)
    texts = Texts.of([reader.text(number) for number in numbers.tolist()])
    with appearing(plan.work / "guard" / "held.npz") as path, path.open("wb") as stream:
        np.savez(stream, data=texts.data, offsets=texts.offsets)
    size = int(documents.size.sum())
    notes = run(plan, "compare with the hold-out", guard_part, documents.parts, cluster, size)
    shares = [np.load(plan.work / "guard" / f"{part}.npy") for part in documents.parts]
    near = np.concatenate(shares) > LARGEST_SHARE
    keys = documents.keys.view([("high", np.uint64), ("low", np.uint64)])[:, 0]
    near |= np.isin(keys, keys[held])
    gone = near & documents.alive & ~held
    choosing.drop(documents, reader, accounts, "holdout", gone, choosing.NEAR_HOLDOUT)
    accounts[0].step("holdout").seconds += spent(notes)
    for source, account in enumerate(accounts):
        if not (documents.alive & ~held & (documents.source == source)).any():
            raise choosing.nothing_left(plan.corpus.sources[source].name, account)
    return held


def _write(
    plan: Plan,
    out: Path,
    documents: Documents,
    parts: Mapping[str, Mask],
    bin_of: Numbers,
    cluster: str | None,
) -> float:
    """Write every part of every source: bins one after the other, each in the order of keys.

    Returns:
        CPU-seconds of all workers.
    """
    files: dict[Path, list[Frame]] = {}
    for part, chosen in parts.items():
        (out / part).mkdir(parents=True, exist_ok=True)
        for number, source in enumerate(plan.corpus.sources):
            members = np.flatnonzero(chosen & (documents.source == number))
            ordered = members[np.lexsort((documents.rank[members], bin_of[members]))]
            found = frames(documents, f"{part}-{number:03}", ordered, bin_of)
            store_frames(plan, found, documents, bin_of)
            files[out / part / f"{source.name}{SUFFIX}"] = found
    names = [frame.name for found in files.values() for frame in found]
    notes = run(plan, "write", write_frame, names, cluster, int(documents.size.sum()))
    for path, found in files.items():
        with open_atomic(path) as stream:
            join(plan.work / "write", found, stream)
    return spent(notes)


def _source(
    plan: Plan,
    number: int,
    documents: Documents,
    parts: Mapping[str, Mask],
    account: Account,
    malformed: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    source = plan.corpus.sources[number]
    dropped = account.dropped()
    counts: dict[str, Any] = {
        "language": source.language,
        "bucket": source.bucket,
        "read": account.step("read").documents,
        "malformed": malformed[number]["count"],
        "duplicates": dropped.pop(choosing.DUPLICATE, 0),
        "dropped": dropped,
    }
    for part, chosen in parts.items():
        members = chosen & (documents.source == number)
        counts[f"{part}_documents"] = int(members.sum())
        counts[f"{part}_bytes"] = int(documents.size[members].sum())
    counts["steps"] = _steps([account])
    return counts


def _steps(accounts: Iterable[Account]) -> list[dict[str, Any]]:
    """The waterfall: what was left after every step, over some sources."""
    found: dict[str, dict[str, Any]] = {}
    for account in accounts:
        for name, step in account.steps.items():
            if not step.documents:
                continue
            total = found.setdefault(
                name, {"step": name, "documents": 0, "bytes": 0, "dropped": {}, "changed": {}}
            )
            total["documents"] += step.documents - sum(step.dropped.values())
            total["bytes"] += step.after
            for kind in ("dropped", "changed"):
                for reason, count in getattr(step, kind).items():
                    total[kind][reason] = total[kind].get(reason, 0) + count
    return list(found.values())


def _token_shares(
    plan: Plan, tokens: Mapping[str, float], documents: Documents, trained: Mask, bin_of: Numbers
) -> dict[str, Any]:
    """Planned and achieved share of tokens (or bytes) of each source, and the bytes of its bins."""
    total = sum(tokens.values()) or 1.0
    shares = {}
    for number, source in enumerate(plan.corpus.sources):
        members = np.flatnonzero(trained & (documents.source == number))
        sizes = np.bincount(bin_of[members], documents.size[members], plan.corpus.buckets.count)
        shares[source.name] = {
            "amount": round(tokens[source.name]),
            "planned": plan.corpus.buckets.shares.get(source.name),
            "achieved": round(tokens[source.name] / total, 6),
            "bins": sizes.astype(int).tolist(),
        }
    unit = "bytes" if plan.tools.count_tokens is None else "tokens"
    return {"unit": unit, "sources": shares}


def _seconds(accounts: Iterable[Account]) -> dict[str, float]:
    """CPU seconds of every step, all workers and sources together."""
    found: dict[str, float] = {}
    for account in accounts:
        for name, step in account.steps.items():
            found[name] = found.get(name, 0.0) + step.seconds
    return {name: round(seconds, 2) for name, seconds in found.items()}


def _write_records(
    plan: Plan,
    out: Path,
    accounts: Sequence[Account],
    malformed: Sequence[Mapping[str, Any]],
    extras: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    """Write the examples; a kind without any has no file, except `dropped.jsonl`."""
    examples: list[Mapping[str, Any]] = []
    shown: dict[str, int] = {}
    samples = []
    for source, account, flaws in zip(plan.corpus.sources, accounts, malformed, strict=True):
        for place in flaws["flaws"][:EXAMPLES]:
            examples.append(
                {"source": source.name, "step": "read", "reason": "malformed", "place": place}
            )
        for step in account.steps.values():
            named = {"source": source.name, "step": step.name}
            examples += [{**named, **example} for example in step.examples]
    for sample in extras["samples"]:
        shown[sample["source"]] = shown.get(sample["source"], 0) + 1
        if shown[sample["source"]] <= SHOWN_SAMPLES:
            samples.append({**sample, "id": sample["place"]})
    _write_lines(out / DROPPED, examples)
    for name, records in (
        (SAMPLES, samples),
        (CLUSTERS, extras.get("clusters", ())),
        (HITS, extras["hits"]),
    ):
        if records:
            _write_lines(out / name, records)
        else:
            (out / name).unlink(missing_ok=True)


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    write_atomic(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
