"""From a recipe's sources to training and hold-out documents.

Shards go through tasks (read, clean, compare with the hold-out, write) that the engine runs; in
between, this process decides what only all documents together can decide.
"""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import Any

from langraft.core.io import (
    disk_errors,
    folder_hashes,
    remove,
    sha256_file,
    sha256_json,
    write_atomic,
)
from langraft.core.manifest import Stage
from langraft.core.messages import warn
from langraft.corpus.account import Account
from langraft.corpus.boilerplate import find_boilerplate
from langraft.corpus.collected import Documents, Reader, load
from langraft.corpus.finishing import finish_corpus
from langraft.corpus.plan import Plan, as_written, plan_of
from langraft.corpus.quality.scorer import BitsPerByte
from langraft.corpus.readers import expand
from langraft.corpus.reading import read_unit
from langraft.corpus.running import run
from langraft.corpus.shard import clean_part
from langraft.corpus.tools import CountTokens, make_tools
from langraft.recipe import Corpus

WORK, FINGERPRINT = "unfinished", "fingerprint"
LAYOUT = 2  # of unfinished work: what an older version left cannot be gone on with


def build_corpus(
    corpus: Corpus,
    new_language: str,
    root: Path,
    out: Path,
    *,
    cluster: str | None = None,
    count_tokens: CountTokens | None = None,
    bits_per_byte: BitsPerByte | None = None,
) -> dict[str, Any]:
    """Take every source through all steps that the recipe asks for, and write what is left.

    `out/train/SOURCE.jsonl.zst` and `out/holdout/SOURCE.jsonl.zst` hold the documents by bin and in
    the order of their hashes, `out/dropped.jsonl` up to ten examples of every reason to drop,
    `out/counts.json` what is returned without the seconds; `samples.jsonl`, `clusters.jsonl` and
    `contamination.jsonl` are there where a step filled them. The same inputs give the same bytes,
    on one machine or on a cluster. Unfinished work lies in `out/unfinished`: a build that was
    killed goes on with the shards that were not done.

    Args:
        corpus: the recipe's section.
        new_language: the code of the language to teach; its sources are judged by `corpus.rules`,
            others by the table of their own language.
        root: the folder that the sources' paths start from.
        out: the folder to write; made if it is absent.
        cluster: see `engine.run_tasks`.
        count_tokens: tokens of texts under the recipe's tokenizer, for the sources' shares.
        bits_per_byte: texts' bits per byte under the recipe's base model, for the scorer `model`.

    Returns:
        `{"sources": {name: {"language", "bucket", "read", "malformed", "dropped": {reason: n},
        "duplicates", "train_documents", "train_bytes", "holdout_documents", "holdout_bytes",
        "steps"}}, "steps": [{"step", "documents", "bytes", "dropped", "changed"}], "tokens",
        "seconds": {step: s}}`. `read` counts the usable records, `malformed` the others; bytes are
        UTF-8 bytes of text; a step's documents and bytes are those left after it.

    Raises:
        BadInput: a file cannot be used, a rule or threshold is unknown, or a source is left with
            too little text.
        RunFailed: the disk is full or `out` cannot be written.
    """
    gc.freeze()  # what the imports left would be gone through at every collection
    plan = plan_of(corpus, new_language, root, (out / WORK).resolve())
    with disk_errors(out):
        _begin(plan, new_language, root)
        tools = make_tools(corpus, root, plan.work, count_tokens, bits_per_byte)
        plan = dataclasses.replace(plan, tools=tools)
        accounts, malformed, documents, extras = _shards(plan, cluster)
        with Reader(plan, documents) as reader:
            counts = finish_corpus(
                plan, out, cluster, accounts, malformed, documents, reader, extras
            )
        _discard(plan.work)
    return counts


def input_hashes(corpus: Corpus, root: Path) -> dict[str, str]:
    """The sha256 of every file that the section names, by its path as a recipe would write it.

    Raises:
        BadInput: a path matches no readable file.
    """
    files = {file for source in corpus.sources for file in expand(source.paths, root)}
    files |= {root / path for path in corpus.sensitive.lists}
    files |= set(expand((*corpus.quality.reference, *corpus.quality.bad), root))
    found = {as_written(file, root): sha256_file(file) for file in sorted(files)}
    for path in map(root.joinpath, corpus.decontaminate.suites.values()):
        hashed = sha256_json(folder_hashes(path)) if path.is_dir() else sha256_file(path)
        found[as_written(path, root)] = hashed
    return found


def build_stage(
    corpus: Corpus,
    language: str,
    root: Path,
    name: str = "corpus",
    *,
    cluster: str | None = None,
    count_tokens: CountTokens | None = None,
    bits_per_byte: BitsPerByte | None = None,
) -> Stage:
    """`build_corpus` as a stage of a run, or as the only one."""

    def work(folder: Path) -> dict[str, Any]:
        return build_corpus(
            corpus,
            language,
            root,
            folder,
            cluster=cluster,
            count_tokens=count_tokens,
            bits_per_byte=bits_per_byte,
        )

    settings = {"corpus": corpus.model_dump(mode="json"), "language": language}
    return Stage(name, settings, input_hashes(corpus, root), work)


def _begin(plan: Plan, new_language: str, root: Path) -> None:
    """Keep an earlier, killed build's work if it was for the same settings and files."""
    files = [path for found in plan.files for path in found]
    quality, suites = plan.corpus.quality, plan.corpus.decontaminate.suites.values()
    files += [*plan.sensitive_files, *expand((*quality.reference, *quality.bad), root)]
    files += [root / path for path in suites if (root / path).exists()]
    stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    settings = [LAYOUT, plan.corpus.model_dump(mode="json"), new_language, stamps]
    mark, wanted = plan.work / FINGERPRINT, sha256_json(settings)
    if not mark.exists() or mark.read_text() != wanted:
        _discard(plan.work)
        plan.work.mkdir(parents=True)
        write_atomic(mark, wanted)


def _discard(work: Path) -> None:
    """Delete unfinished work; its mark goes first, so that nobody takes up half of it."""
    (work / FINGERPRINT).unlink(missing_ok=True)
    remove(work)


def _read_named(plan: Plan, name: str) -> str:
    return read_unit(plan, next(unit for unit in plan.units() if unit.name == name))


def _shards(
    plan: Plan, cluster: str | None
) -> tuple[list[Account], list[dict[str, Any]], Documents, dict[str, list[Any]]]:
    """Read everything and take every shard through the steps."""
    units, size = plan.units(), plan.size
    notes = run(plan, "read", _read_named, [unit.name for unit in units], cluster, size)
    accounts = [Account() for _ in plan.corpus.sources]
    malformed: list[dict[str, Any]] = [{"count": 0, "flaws": []} for _ in plan.corpus.sources]
    parts: list[str] = []
    for unit in units:
        note = notes[unit.name]
        accounts[unit.source].add(note["steps"])
        parts += note["parts"]
        malformed[unit.source]["count"] += note["malformed"]
        malformed[unit.source]["flaws"] += note["flaws"]
    for source, flaws in zip(plan.corpus.sources, malformed, strict=True):
        if flaws["count"]:
            first = f"{flaws['count']:,} malformed records skipped; the first: {flaws['flaws'][0]}"
            warn(f"source {source.name}: {first}")
    if plan.corpus.clean.boilerplate is not None:
        find_boilerplate(plan, parts, accounts)
    notes = run(plan, "clean", clean_part, parts, cluster, size)
    extras: dict[str, list[Any]] = {"hits": [], "samples": []}
    for part in parts:
        number = int(part.split("-")[0])
        accounts[number].add(notes[part]["steps"])
        extras["hits"] += notes[part]["hits"]
        name = plan.corpus.sources[number].name
        extras["samples"] += [{"source": name, **found} for found in notes[part]["samples"]]
    return accounts, malformed, load(plan.work / "clean", parts), extras
