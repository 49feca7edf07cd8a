"""From a recipe's sources to training and hold-out documents."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import disk_errors, sha256_file, write_atomic, write_json
from langraft.core.messages import bar, warn
from langraft.corpus.clean import normalise
from langraft.corpus.dedup import ExactDedup, document_key
from langraft.corpus.documents import Document, write_lines
from langraft.corpus.holdout import hold_out
from langraft.corpus.leak import LARGEST_SHARE, HeldOutLines
from langraft.corpus.readers import expand, read_texts
from langraft.corpus.rules import Thresholds, Verdict, judge, thresholds_for
from langraft.corpus.spool import Spool
from langraft.corpus.tally import DUPLICATE, NEAR_HOLDOUT, Tally
from langraft.recipe import Corpus, Source

COUNTS = "counts.json"
DROPPED = "dropped.jsonl"
TRAIN = "train"
HOLDOUT = "holdout"
SUFFIX = ".jsonl.zst"


@dataclasses.dataclass
class Work:
    """One source on its way: what to read, by which limits, what is kept, and the counts."""

    source: Source
    files: list[Path]
    limits: Thresholds
    spool: Spool
    tally: Tally


def build_corpus(corpus: Corpus, new_language: str, root: Path, out: Path) -> dict[str, Any]:
    """Read, normalise, judge and deduplicate every source, set its hold-out aside, write it all.

    `out/train/SOURCE.jsonl.zst` and `out/holdout/SOURCE.jsonl.zst` hold the documents in the order
    of their hashes, `out/dropped.jsonl` up to ten examples of every reason to drop,
    `out/counts.json` what is returned. The same inputs give the same bytes.

    Args:
        corpus: the recipe's section.
        new_language: the code of the language to teach; its sources are judged by `corpus.rules`,
            others by the table of their own language.
        root: the folder that the sources' paths start from.
        out: the folder to write; made if it is absent.

    Returns:
        `{"sources": {name: {"language", "bucket", "read", "malformed", "dropped": {reason: n},
        "duplicates", "train_documents", "train_bytes", "holdout_documents", "holdout_bytes"}}}`.
        `read` counts the usable records, `malformed` the others; bytes are UTF-8 bytes of text.

    Raises:
        BadInput: a file cannot be used, a rule or threshold is unknown, or a source is left with
            too little text.
        RunFailed: the disk is full or `out` cannot be written.
    """
    # Everything that can be wrong with the recipe is found before the first file is read.
    rules = [
        thresholds_for(s.language, new_language, corpus.rules, corpus.thresholds)
        for s in corpus.sources
    ]
    files = [expand(source.paths, root) for source in corpus.sources]
    with disk_errors(out), contextlib.ExitStack() as open_spools:
        for folder in (out / TRAIN, out / HOLDOUT):
            folder.mkdir(parents=True, exist_ok=True)
        works = [
            Work(source, found, limits, open_spools.enter_context(Spool(out)), Tally(source.name))
            for source, found, limits in zip(corpus.sources, files, rules, strict=True)
        ]
        _read_all(works, corpus, root)
        held = [_held_out(work, corpus.holdout.bytes) for work in works]
        guard = HeldOutLines(
            json.loads(line)["text"]
            for work, keys in zip(works, held, strict=True)
            for _, line in work.spool.lines(keys)
        )
        everywhere = frozenset[bytes]().union(*held)
        counts = {
            "sources": {
                work.source.name: _write(
                    work, {TRAIN: _trained(work, keys, everywhere, guard), HOLDOUT: keys}, out
                )
                for work, keys in zip(works, held, strict=True)
            }
        }
        examples = (example for work in works for example in work.tally.examples())
        write_atomic(
            out / DROPPED, "".join(json.dumps(e, ensure_ascii=False) + "\n" for e in examples)
        )
        write_json(out / COUNTS, counts)
    return counts


def input_hashes(corpus: Corpus, root: Path) -> dict[str, str]:
    """The sha256 of every file that the sources name, by its path as a recipe would write it.

    Raises:
        BadInput: a path matches no readable file.
    """
    files = {file for source in corpus.sources for file in expand(source.paths, root)}
    return {_as_written(file, root): sha256_file(file) for file in sorted(files)}


def _as_written(file: Path, root: Path) -> str:
    """Relative to `root` unless the recipe gave an absolute path: a moved project is the same."""
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def _read_all(works: list[Work], corpus: Corpus, root: Path) -> None:
    dedup = ExactDedup()
    with bar("files") as progress:
        for work in works:
            task = progress.add_task(f"read {work.source.name}", total=len(work.files), note="")
            for file in work.files:
                for _ in _read_file(file, work, corpus, root, dedup):
                    if work.tally.read % 100 == 0:
                        progress.update(task, note=f"{work.tally.read:,} documents")
                progress.update(task, advance=1, note=f"{work.tally.read:,} documents")
            work.tally.malformed.warn(f"source {work.source.name}")
            if not work.spool.entries:
                raise _nothing_left(work)


def _read_file(
    file: Path, work: Work, corpus: Corpus, root: Path, dedup: ExactDedup
) -> Iterator[None]:
    """Bring every record of `file` to the spool or the tally; yields after each."""
    source, tally = work.source, work.tally
    path = _as_written(file, root)
    for record in read_texts(file, source.text_key, tally.malformed):
        tally.read += 1
        text = normalise(record.text, corpus.clean.normalise)
        place = f"{path}:{record.line}"
        verdict = judge(text, work.limits)
        key = document_key(text)
        if verdict.kept and corpus.dedup.exact and not dedup.is_new(key):
            verdict = Verdict(False, DUPLICATE)
        if verdict.kept:
            name = f"{source.name}-{key.hex()}"
            meta = {"place": place}
            work.spool.add(
                key, Document(name, text, source.name, source.language, source.bucket, meta)
            )
        else:
            tally.drop(verdict, place, text)
        yield


def _held_out(work: Work, wanted: int) -> set[bytes]:
    """The keys of a source's hold-out, with a warning when it is smaller than asked for."""
    entries, name = work.spool.entries, work.source.name
    chosen = hold_out(((entry.key, entry.text_bytes) for entry in entries), wanted)
    held = sum(entry.text_bytes for entry in entries if entry.key in chosen)
    if not chosen:
        raise BadInput(
            f"corpus.sources: {name!r} has {len(entries)} documents, and none fits into a quarter "
            "of its bytes, so nothing can be held out; give it more text or split it into more "
            "documents (a .txt file is one document)"
        )
    if held < wanted:
        warn(
            f"source {name}: {held:,} bytes are held out, not {wanted:,}: no further document fits "
            f"into a quarter of its {sum(entry.text_bytes for entry in entries):,} bytes"
        )
    return chosen


def _trained(
    work: Work, own: Set[bytes], everywhere: Set[bytes], guard: HeldOutLines
) -> set[bytes]:
    """The keys of a source's training documents: what no hold-out has, exactly or nearly."""
    trained: set[bytes] = set()
    for key, line in work.spool.lines({entry.key for entry in work.spool.entries} - own):
        document = json.loads(line)
        share = 1.0 if key in everywhere else guard.largest_share(document["text"])
        if share <= LARGEST_SHARE:
            trained.add(key)
        else:
            verdict = Verdict(False, NEAR_HOLDOUT, share, LARGEST_SHARE)
            work.tally.drop(verdict, document["meta"]["place"], document["text"])
    if not trained:
        raise _nothing_left(work)
    return trained


def _nothing_left(work: Work) -> BadInput:
    return BadInput(
        f"corpus.sources: no document of {work.source.name!r} is left to train on "
        f"({work.tally.reasons()}); look at the texts, choose other `rules`, or set `thresholds`"
    )


def _write(work: Work, parts: Mapping[str, Set[bytes]], out: Path) -> dict[str, Any]:
    """Write one source's files, a set of keys each, and return its counts."""
    source, tally = work.source, work.tally
    counts: dict[str, Any] = {
        "language": source.language,
        "bucket": source.bucket,
        "read": tally.read,
        "malformed": tally.malformed.count,
        "dropped": tally.dropped,
        "duplicates": tally.duplicates,
    }
    for part, keys in parts.items():
        lines = (line for _, line in work.spool.lines(keys))
        sizes = (entry.text_bytes for entry in work.spool.entries if entry.key in keys)
        counts[f"{part}_documents"] = write_lines(out / part / f"{source.name}{SUFFIX}", lines)
        counts[f"{part}_bytes"] = sum(sizes)
    return counts
