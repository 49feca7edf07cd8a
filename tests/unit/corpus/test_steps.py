"""Every step that a recipe can ask for, in a whole build."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from test_build_corpus import ZH, chinese, corpus, jsonl

from langraft.core.errors import BadInput
from langraft.corpus.build import build_corpus
from langraft.corpus.documents import Document, read_documents
from langraft.corpus.rules import TABLES
from langraft.corpus.tools import make_tools

GOOD = [chinese(seed) for seed in range(40)]
FOOTER = "本文由某网站编辑部整理发布，转载请注明出处。"
ENGLISH = (
    "The quick brown fox jumps over the lazy dog while everybody else is asleep. " * 4 + "So it is."
)


def built(
    folder: Path, texts: Iterable[str], *sources: dict[str, Any], **settings: Any
) -> tuple[dict[str, Any], list[Document]]:
    """Counts, and the documents that are trained on or held out."""
    jsonl(folder / "zh.jsonl", texts)
    for argument in ("count_tokens", "bits_per_byte"):
        settings.setdefault(argument, None)
    extra = {name: settings.pop(name) for name in ("count_tokens", "bits_per_byte")}
    out = folder / "out"
    counts = build_corpus(corpus(ZH, *sources, **settings), "zh", folder, out, **extra)
    found = [
        document
        for part in ("train", "holdout")
        for path in sorted((out / part).iterdir())
        for document in read_documents(path)
    ]
    return counts, found


def step(counts: dict[str, Any], name: str) -> dict[str, Any]:
    return next(found for found in counts["steps"] if found["step"] == name)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_that_many_documents_share_are_cut(tmp_path: Path) -> None:
    texts = [f"{text}\n{FOOTER}" for text in GOOD]
    clean = {"boilerplate": {"documents": 20, "share": 0.3, "characters": 15}}
    counts, found = built(tmp_path, [*texts, FOOTER], clean=clean)
    assert step(counts, "boilerplate")["changed"] == {"line": 41, "text": 41}
    assert step(counts, "boilerplate")["dropped"] == {"boilerplate": 1}
    assert {document.text.rstrip("\n") for document in found} == set(GOOD)


def test_a_line_in_fewer_documents_stays(tmp_path: Path) -> None:
    texts = [f"{text}\n{FOOTER}" if n < 19 else text for n, text in enumerate(GOOD)]
    clean = {"boilerplate": {"documents": 20, "share": 0.3, "characters": 15}}
    counts, found = built(tmp_path, texts, clean=clean)
    assert step(counts, "boilerplate")["changed"] == {}
    assert {document.text for document in found} == set(texts)


def test_leftover_html_goes(tmp_path: Path) -> None:
    texts = [f"<div class='x'>{text}</div><br>" if n % 2 else text for n, text in enumerate(GOOD)]
    counts, found = built(tmp_path, texts, clean={"html": True})
    assert step(counts, "html")["changed"] == {"html": 20}
    assert {document.text for document in found} == set(GOOD)


def test_other_languages_are_dropped_or_marked(tmp_path: Path) -> None:
    mixed = ENGLISH + "\n" + GOOD[0]
    texts = [*GOOD[1:], ENGLISH, mixed]
    loose = {"min_script_share": 0.0, "max_repeated_20gram_share": 1.0, "max_top_4gram_share": 1.0}
    counts, found = built(tmp_path, texts, language={"check": True, "drop": True}, thresholds=loose)
    assert step(counts, "language")["dropped"] == {"language": 1}
    assert step(counts, "language")["changed"] == {"mixed": 1}
    shares = next(d.meta["shares"] for d in found if d.text == mixed)
    assert set(shares) == {"zh", "en"} and sum(shares.values()) == pytest.approx(1, abs=0.01)
    assert {d.meta["language"] for d in found if d.text != mixed} == {"zh"}
    counts, found = built(tmp_path, texts, language={"check": True}, thresholds=loose)
    assert step(counts, "language")["changed"] == {"mixed": 1, "in en": 1}
    assert len(found) == len(texts)


def test_private_data_become_labels(tmp_path: Path) -> None:
    texts = [f"{text}\n联系wang@example.com" for text in GOOD]
    counts, found = built(tmp_path, texts, redact=["email", "phone"])
    assert step(counts, "redact")["changed"] == {"text": 40, "email": 40}
    assert all(document.text.endswith("联系<email>") for document in found)


def test_sensitive_topics_are_dropped_and_counted(tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("# category: games\n# limit: 2\n六合彩\n", encoding="utf-8")
    texts = [*GOOD, GOOD[0][::-1] + "六合彩。" * 3, GOOD[1][::-1] + "六合彩。"]
    counts, found = built(tmp_path, texts, sensitive={"lists": ["terms.txt"]})
    assert step(counts, "sensitive")["dropped"] == {"sensitive: games": 1}
    assert step(counts, "sensitive")["changed"] == {"games": 4}
    assert len(found) == 41


@pytest.mark.parametrize("action", ["remove", "cut"])
def test_benchmark_items_are_removed_or_cut_and_listed(tmp_path: Path, action: str) -> None:
    item = chinese(1_000, 2)
    jsonl(tmp_path / "items.jsonl", [item])
    settings = {"suites": {"own": "items.jsonl"}, "action": action}
    counts, found = built(tmp_path, [*GOOD, GOOD[0][::-1] + item], decontaminate=settings)
    (hit,) = lines(tmp_path / "out" / "contamination.jsonl")
    assert (hit["suite"], hit["item"], hit["share"]) == ("own", "items.jsonl:1", 1.0)
    assert hit["document"] == "zh.jsonl:41" and hit["text"].startswith(GOOD[0][::-1][:20])
    texts = {document.text.strip() for document in found}
    assert not any(item in text for text in texts)
    if action == "remove":
        assert step(counts, "decontaminate")["dropped"] == {"benchmark: own": 1}
        assert texts == set(GOOD)
    else:
        assert step(counts, "decontaminate")["changed"] == {"text": 1}
        assert texts > set(GOOD) and len(texts) == 41


def near(text: str, seed: int) -> str:
    draw = random.Random(seed)
    place = draw.randrange(len(text))
    return text[:place] + chr(draw.randrange(0x4E00, 0x9F00)) + text[place + 1 :]


def test_near_duplicates_leave_their_longest_member_with_a_weight(tmp_path: Path) -> None:
    long = [chinese(seed, 12) for seed in range(40)]
    more = [near(text, seed) for seed, text in enumerate(long)]
    longest = long[0] + "完"
    counts, found = built(
        tmp_path, [*long, *more, longest], dedup={"minhash": {}, "rehydrate": True}
    )
    assert step(counts, "minhash")["dropped"] == {"near_duplicate": 41}
    assert counts["seconds"]["minhash"] > 0 and "write" in counts["seconds"]
    by_text = {document.text: document.meta for document in found}
    assert by_text[longest]["cluster"] == 3 and by_text[longest]["weight"] == 3
    assert sorted(meta["cluster"] for meta in by_text.values()) == [2] * 39 + [3]
    clusters = lines(tmp_path / "out" / "clusters.jsonl")
    assert clusters[0]["size"] == 3 and clusters[0]["kept"] == longest[:200]


def test_the_survivors_do_not_depend_on_the_order_of_documents(tmp_path: Path) -> None:
    long = [chinese(seed % 40, 12) for seed in range(120)]
    texts = [near(text, seed) for seed, text in enumerate(long)]
    _, one = built(tmp_path, texts, dedup={"minhash": {}})
    random.Random(4).shuffle(texts)
    _, two = built(tmp_path, texts, dedup={"minhash": {}})
    assert len(one) == 40
    assert [(d.id, d.text) for d in one] == [(d.id, d.text) for d in two]


def test_scores_are_stored_and_cut(tmp_path: Path) -> None:
    """Any function that gives a number a text is a scorer: here the share of one character."""

    def bits(texts: Any) -> list[float]:
        return [text.count("优") / len(text) for text in texts]

    texts = ["优" * n + text for n, text in enumerate(GOOD)]
    loose = {"max_run_share": 1.0, "max_top_4gram_share": 1.0, "max_repeated_20gram_share": 1.0}
    counts, found = built(
        tmp_path,
        texts,
        quality={"scorer": "model", "cut": "ziya2"},
        thresholds=loose,
        bits_per_byte=bits,
    )
    assert step(counts, "quality")["dropped"] == {"low_quality": 16}
    grades = {d.text.count("优"): d.meta["grade"] for d in found}
    assert grades == {n: "high" if n < 12 else "medium" for n in range(24)}
    for document in found:
        stored = document.meta["score"]["bits_per_byte"]
        assert stored == pytest.approx(bits([document.text])[0], abs=1e-6)


def test_a_scorer_without_its_model_or_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="needs the recipe's base model"):
        built(tmp_path, GOOD, quality={"scorer": "model"})
    with pytest.raises(ValueError, match="needs `reference` files"):
        corpus(ZH, quality={"scorer": "kenlm"})
    with pytest.raises(BadInput, match="choose a scorer"):
        built(tmp_path, GOOD, quality={"cut": "ziya2"})


def test_the_best_scored_near_duplicate_stays(tmp_path: Path) -> None:
    long = [chinese(seed, 12) for seed in range(40)]
    better = [text.replace(text[5], "优", 1) for text in long]
    _, found = built(
        tmp_path,
        [*long, *better],
        dedup={"minhash": {}},
        quality={"scorer": "model"},
        bits_per_byte=lambda texts: [2.0 - ("优" in text) for text in texts],
    )
    assert {document.text for document in found} == set(better)


def test_bins_and_shares_of_tokens(tmp_path: Path) -> None:
    jsonl(tmp_path / "more.jsonl", [chinese(seed, 3 + seed % 5) for seed in range(100, 340)])
    more = {"name": "more", "paths": ["more.jsonl"], "language": "zh"}
    texts = [chinese(seed) for seed in range(80)]
    counts, _ = built(
        tmp_path,
        texts,
        more,
        buckets={"count": 4, "shares": {"zh": 0.5, "more": 0.5}},
        holdout={"bytes": 2_000},
        count_tokens=lambda texts: [len(text) for text in texts],
    )
    tokens = counts["tokens"]
    assert tokens["unit"] == "tokens"
    assert tokens["sources"]["zh"]["achieved"] == pytest.approx(0.5, abs=0.02)
    assert step(counts, "mixture")["dropped"] == {
        "mixture": counts["sources"]["more"]["dropped"]["mixture"]
    }
    assert "mixture" not in counts["sources"]["zh"]["dropped"]
    for name in ("zh", "more"):
        documents = list(read_documents(tmp_path / "out" / "train" / f"{name}.jsonl.zst"))
        bins = [document.meta["bin"] for document in documents]
        assert bins == sorted(bins) and set(bins) == {0, 1, 2, 3}
        sizes = tokens["sources"][name]["bins"]
        held = [
            sum(len(d.text.encode()) for d in documents if d.meta["bin"] == number)
            for number in range(4)
        ]
        assert sizes == held and max(sizes) / min(sizes) < 1.25


def test_every_threshold_has_a_source() -> None:
    for table in TABLES.values():
        assert all(row.source for row in table.rows)


def test_tools_are_made_only_where_a_recipe_asks(tmp_path: Path) -> None:
    tools = make_tools(corpus(ZH), tmp_path, tmp_path)
    assert (tools.identify, tools.scorer, tools.contamination) == (None, None, None)
