"""What only all documents together can decide: copies, near copies, the quality cut, the hold-out,
the bins and the mixture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.core.errors import BadInput
from langraft.core.messages import warn
from langraft.corpus.account import EXAMPLES, Account
from langraft.corpus.buckets import bins, shares_met, spread, taken
from langraft.corpus.collected import Documents, Mask, Numbers, Reader
from langraft.corpus.dedup import Clusters, best_members, clusters, first_copies, rehydration
from langraft.corpus.holdout import hold_out
from langraft.corpus.near import found_pairs
from langraft.corpus.plan import Plan
from langraft.corpus.quality.cuts import cut_of, shares

DUPLICATE, NEAR_DUPLICATE, NEAR_HOLDOUT = "duplicate", "near_duplicate", "near_holdout"
LOW_QUALITY, MIXTURE = "low_quality", "mixture"
GRADES = ("", "high", "medium", "low")
SHOWN_CLUSTERS, SHOWN_MEMBERS = 20, 5
SAMPLED = 1_000_000  # bytes of a source whose tokens are counted


def drop(
    documents: Documents,
    reader: Reader,
    accounts: list[Account],
    step: str,
    gone: Mask,
    reason: str,
) -> None:
    """Take the documents of the mask `gone` out, and account for them by source."""
    for source, account in enumerate(accounts):
        members = documents.of(source)
        lost = members[gone[members]]
        noted = account.step(step)
        noted.documents += len(members)
        noted.size += int(documents.size[members].sum())
        for number in lost[:EXAMPLES].tolist():
            noted.drop(reason, int(documents.size[number]), reader.example(number))
        rest = lost[EXAMPLES:]
        if len(rest):
            noted.dropped[reason] += len(rest)
            noted.lost[reason] += int(documents.size[rest].sum())
        noted.after = noted.size - sum(noted.lost.values())
    documents.alive &= ~gone


def drop_copies(documents: Documents, reader: Reader, accounts: list[Account]) -> None:
    """The first of several equal documents stays."""
    drop(documents, reader, accounts, "exact", ~first_copies(documents.keys), DUPLICATE)


def drop_near_copies(
    plan: Plan, documents: Documents, chosen: Numbers, reader: Reader, accounts: list[Account]
) -> tuple[Clusters, list[dict[str, Any]]]:
    """The best member of every cluster stays and stands for the others."""
    minhash = plan.corpus.dedup.minhash
    assert minhash is not None
    found = clusters(found_pairs(plan, minhash.bands), len(chosen))
    for band, members in found.giant:
        warn(f"near duplicates: band {band} has a bucket of {members:,} documents; compared once")
    quality = _quality(plan, documents)[chosen]
    best = best_members(found.root, quality, documents.rank[chosen])
    gone = np.zeros(len(documents), bool)
    gone[chosen[~best]] = True
    documents.cluster[chosen] = found.sizes
    documents.weight[chosen] = rehydration(found.sizes)
    examples = _largest(documents, chosen, found, best, reader)
    drop(documents, reader, accounts, "minhash", gone, NEAR_DUPLICATE)
    return found, examples


def _quality(plan: Plan, documents: Documents) -> npt.NDArray[np.float64]:
    """What decides which near copy stays: the score, or the length where there is none."""
    if plan.tools.scorer is None:
        return documents.size.astype(float)
    return documents.scores if plan.tools.scorer.higher_is_better else -documents.scores


def cut_quality(plan: Plan, documents: Documents, reader: Reader, accounts: list[Account]) -> None:
    """Grade every source's documents by their score, and drop the grade `low`."""
    scorer = plan.tools.scorer
    if scorer is None:
        raise BadInput("corpus.quality.cut: there is no score to cut by; choose a scorer")
    for source in range(len(accounts)):
        members = documents.of(source)
        if len(members):
            scores = documents.scores[members].tolist()
            cut = cut_of(scores, shares(plan.corpus.quality.cut), scorer.higher_is_better)
            documents.grade[members] = [GRADES.index(cut.grade(score)) for score in scores]
    gone = documents.alive & (documents.grade == GRADES.index("low"))
    drop(documents, reader, accounts, "quality", gone, LOW_QUALITY)


def _largest(
    documents: Documents,
    chosen: Numbers,
    found: Clusters,
    best: npt.NDArray[np.bool_],
    reader: Reader,
) -> list[dict[str, Any]]:
    kept = np.flatnonzero(best & (found.sizes > 1))
    order = np.lexsort((documents.rank[chosen[kept]], -found.sizes[kept]))[:SHOWN_CLUSTERS]
    examples = []
    for place in kept[order].tolist():
        members = np.flatnonzero((found.root == found.root[place]) & ~best)[:SHOWN_MEMBERS]
        examples.append(
            {
                "size": int(found.sizes[place]),
                "kept": reader.example(int(chosen[place]))["snippet"],
                "dropped": [reader.example(int(chosen[m]))["snippet"] for m in members.tolist()],
            }
        )
    return examples


def held_out(
    plan: Plan, documents: Documents, source: int, account: Account
) -> npt.NDArray[np.bool_]:
    """Which documents of a source are set aside, with a warning when they are fewer than asked for.

    Raises:
        BadInput: none can be.
    """
    name, wanted = plan.corpus.sources[source].name, plan.corpus.holdout.bytes
    members = documents.of(source)
    if not len(members):
        raise nothing_left(name, account)
    sizes = documents.size[members]
    held = hold_out(documents.keys[members], sizes, wanted)
    if not held.any():
        raise BadInput(
            f"corpus.sources: {name!r} has {len(members)} documents, and none fits into a quarter "
            "of its bytes, so nothing can be held out; give it more text or split it into more "
            "documents (a .txt file is one document)"
        )
    if (size := int(sizes[held].sum())) < wanted:
        warn(
            f"source {name}: {size:,} bytes are held out, not {wanted:,}: no further document fits "
            f"into a quarter of its {int(sizes.sum()):,} bytes"
        )
    out = np.zeros(len(documents), bool)
    out[members[held]] = True
    return out


def nothing_left(name: str, account: Account) -> BadInput:
    """The error of a source whose documents are all gone."""
    return BadInput(
        f"corpus.sources: no document of {name!r} is left to train on "
        f"({account.reasons()}); look at the texts, choose other `rules`, or set `thresholds`"
    )


def all_bins(plan: Plan, documents: Documents, trained: Mask) -> Numbers:
    """The bin of every document to train on, -1 for the others."""
    found = np.full(len(documents), -1, np.int64)
    for source in range(len(plan.corpus.sources)):
        members = np.flatnonzero(trained & (documents.source == source))
        found[members] = bins(
            documents.size[members],
            documents.file[members].astype(np.int64),
            documents.rank[members],
            plan.corpus.buckets.count,
        )
    return found


def tokens_of(plan: Plan, documents: Documents, trained: Mask, reader: Reader) -> dict[str, float]:
    """The tokens of each source under the recipe's tokenizer, from a sample of `SAMPLED` bytes, or
    its bytes where no tokenizer is known.
    """
    found = {}
    for source, settings in enumerate(plan.corpus.sources):
        members = np.flatnonzero(trained & (documents.source == source))
        total = float(documents.size[members].sum())
        if plan.tools.count_tokens is not None and len(members):
            sample = members[spread(documents.size[members].tolist(), SAMPLED)]
            tokens = sum(plan.tools.count_tokens([reader.text(n) for n in sample.tolist()]))
            total *= tokens / int(documents.size[sample].sum())
        found[settings.name] = total
    return found


def mix(
    plan: Plan, documents: Documents, trained: Mask, bin_of: Numbers, tokens: Mapping[str, float]
) -> Mask:
    """Which documents stay so that the sources have the planned shares of tokens."""
    wanted = shares_met(tokens, plan.corpus.buckets.shares)
    kept = trained.copy()
    for source, settings in enumerate(plan.corpus.sources):
        if wanted[settings.name] < tokens[settings.name]:
            members = np.flatnonzero(trained & (documents.source == source))
            part = wanted[settings.name] / tokens[settings.name]
            kept[members] = taken(
                documents.size[members], bin_of[members], documents.rank[members], part
            )
    return kept
