"""The whole room on small sources with known faults, and on the quickstart texts."""

from __future__ import annotations

import json
import random
import resource
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from langraft.core.errors import BadInput, RunFailed
from langraft.core.io import folder_hashes, sha256_file
from langraft.corpus.build import WORK, build_corpus, input_hashes
from langraft.corpus.documents import read_documents
from langraft.recipe import Corpus

DIGITS = "3141592653589793"


def chinese(seed: int, sentences: int = 6) -> str:
    """Some hundred characters of nonsense that every rule of the zh table accepts."""
    draw = random.Random(seed)
    lines = (
        "".join(chr(draw.randrange(0x4E00, 0x9F00)) for _ in range(22)) for _ in range(sentences)
    )
    return "。\n".join(lines) + "。"


def jsonl(path: Path, texts: Iterable[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def corpus(*sources: dict[str, Any], **settings: Any) -> Corpus:
    return Corpus.model_validate(
        {"sources": list(sources), "rules": "zh", "holdout": {"bytes": 1_000}, **settings}
    )


ZH = {"name": "zh", "paths": ["zh.jsonl"], "language": "zh"}
EN = {"name": "en", "paths": ["en.jsonl"], "language": "en", "bucket": "replay"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`zh.jsonl`: 40 good documents, then the faulty; `en.jsonl`: 20 English ones, one foreign."""
    good = [chinese(seed) for seed in range(40)]
    with (tmp_path / "zh.jsonl").open("w", encoding="utf-8") as stream:
        for text in [
            *good,
            "短",
            "x" * 99 + chinese(98, 1),
            chinese(99) + DIGITS * 4,
            good[3] + " \r\n",
        ]:
            stream.write(json.dumps({"text": text}) + "\n")
        stream.write("{broken\n")
    draw = random.Random(5)
    words = [["".join(draw.choices("abcdefghij", k=5)) for _ in range(80)] for _ in range(20)]
    jsonl(tmp_path / "en.jsonl", [*(" ".join(w) + "." for w in words), good[0]])
    return tmp_path


def test_every_record_is_accounted_for(folder: Path) -> None:
    counts = build_corpus(corpus(ZH, EN), "zh", folder, folder / "out")
    zh, en = counts["sources"]["zh"], counts["sources"]["en"]
    assert (zh["language"], zh["bucket"]) == ("zh", "knowledge")
    assert (en["language"], en["bucket"]) == ("en", "replay")
    assert (zh["read"], zh["malformed"], zh["duplicates"]) == (44, 1, 1)
    assert zh["dropped"] == {"min_tokens": 2, "max_digit_share": 1}
    assert en["dropped"] == {"min_script_share": 1}  # judged by its own language's table
    for name, source in counts["sources"].items():
        kept = source["train_documents"] + source["holdout_documents"]
        assert kept + sum(source["dropped"].values()) + source["duplicates"] == source["read"]
        for part in ("train", "holdout"):
            documents = list(read_documents(folder / "out" / part / f"{name}.jsonl.zst"))
            assert len(documents) == source[f"{part}_documents"]
            size = sum(len(document.text.encode()) for document in documents)
            assert size == source[f"{part}_bytes"]
        assert 1_000 <= source["holdout_bytes"] < 2_000
    assert counts.pop("seconds").keys() >= {"read", "normalise", "rules", "exact"}
    assert json.loads((folder / "out" / "counts.json").read_text()) == counts
    steps = {step["step"]: step for step in counts["steps"]}
    assert [steps[name]["documents"] for name in ("read", "rules", "exact")] == [65, 61, 60]


def test_documents_carry_their_source_and_place(folder: Path) -> None:
    build_corpus(corpus(ZH, EN), "zh", folder, folder / "out")
    documents = [
        document
        for part in ("train", "holdout")
        for document in read_documents(folder / "out" / part / "zh.jsonl.zst")
    ]
    by_place = {document.meta["place"]: document for document in documents}
    assert by_place["zh.jsonl:8"].text == chinese(7)
    assert {(d.source, d.language, d.bucket) for d in documents} == {("zh", "zh", "knowledge")}
    assert len({document.id for document in documents}) == 40
    assert all(document.id.startswith("zh-") for document in documents)


def test_no_held_out_text_is_trained_on(folder: Path) -> None:
    build_corpus(corpus(ZH), "zh", folder, folder / "out")
    texts = {
        part: {d.text for d in read_documents(folder / "out" / part / "zh.jsonl.zst")}
        for part in ("train", "holdout")
    }
    assert texts["train"] and texts["holdout"]
    assert not texts["train"] & texts["holdout"]
    assert texts["train"] | texts["holdout"] == {chinese(seed) for seed in range(40)}


def test_the_split_does_not_depend_on_files_or_their_order(folder: Path) -> None:
    build_corpus(corpus(ZH), "zh", folder, folder / "one")
    texts = [chinese(seed) for seed in range(40)]
    random.Random(0).shuffle(texts)
    jsonl(folder / "part1.jsonl", texts[:13])
    jsonl(folder / "part2.jsonl", texts[13:])
    build_corpus(corpus(ZH | {"paths": ["part*.jsonl"]}), "zh", folder, folder / "two")
    for part in ("train", "holdout"):
        one, two = (
            [(d.id, d.text) for d in read_documents(folder / out / part / "zh.jsonl.zst")]
            for out in ("one", "two")
        )
        assert one == two  # the same documents in the same order
    assert one != sorted(one, key=lambda pair: texts.index(pair[1]))


def test_same_inputs_same_bytes(folder: Path) -> None:
    for out in ("one", "two"):
        build_corpus(corpus(ZH, EN), "zh", folder, folder / out)
    hashes = folder_hashes(folder / "one")
    assert hashes == folder_hashes(folder / "two")
    assert set(hashes) == {
        "counts.json",
        "dropped.jsonl",
        "samples.jsonl",
        *(f"{part}/{name}.jsonl.zst" for part in ("train", "holdout") for name in ("zh", "en")),
    }


def test_a_second_build_into_the_same_folder_replaces_the_first(folder: Path) -> None:
    build_corpus(corpus(ZH, holdout={"bytes": 3_000}), "zh", folder, folder / "out")
    build_corpus(corpus(ZH), "zh", folder, folder / "out")
    build_corpus(corpus(ZH), "zh", folder, folder / "fresh")
    assert folder_hashes(folder / "out") == folder_hashes(folder / "fresh")


def test_dropped_examples_say_what_was_measured(folder: Path) -> None:
    jsonl(folder / "zh.jsonl", [*(chinese(n) for n in range(40)), *("短文" * n for n in range(15))])
    build_corpus(corpus(ZH), "zh", folder, folder / "out")
    lines = (folder / "out" / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    examples = [json.loads(line) for line in lines]
    assert len(examples) == 10  # of 15
    assert examples[3] == {
        "source": "zh",
        "step": "rules",
        "reason": "min_tokens",
        "place": "zh.jsonl:44",
        "value": 6,
        "limit": 50.0,
        "snippet": "短文短文短文",
    }


def test_the_first_of_two_sources_keeps_a_shared_document(folder: Path) -> None:
    jsonl(folder / "more.jsonl", [chinese(n) for n in range(30, 70)])
    more = {"name": "more", "paths": ["more.jsonl"], "language": "zh"}
    counts = build_corpus(corpus(ZH, more), "zh", folder, folder / "out")["sources"]
    assert (counts["zh"]["duplicates"], counts["more"]["duplicates"]) == (1, 10)
    turned = build_corpus(corpus(more, ZH), "zh", folder, folder / "turned")["sources"]
    assert (turned["zh"]["duplicates"], turned["more"]["duplicates"]) == (11, 0)


def test_without_dedup_no_copy_of_a_held_out_text_is_trained_on(folder: Path) -> None:
    """Neither an exact copy in another source nor another edition in the same one."""
    again = {"name": "again", "paths": ["zh.jsonl"], "language": "zh"}
    jsonl(folder / "editions.jsonl", [chinese(n) + f"\n第{n}版。" for n in range(40)])
    late = {"name": "late", "paths": ["editions.jsonl"], "language": "zh"}
    settings = corpus(ZH, again, late, dedup={"exact": False})
    counts = build_corpus(settings, "zh", folder, folder / "out")["sources"]
    held = {
        document.text.partition("\n第")[0]
        for name in counts
        for document in read_documents(folder / "out" / "holdout" / f"{name}.jsonl.zst")
    }
    trained = {
        document.text.partition("\n第")[0]
        for name in counts
        for document in read_documents(folder / "out" / "train" / f"{name}.jsonl.zst")
    }
    assert held and trained and not held & trained
    assert counts["late"]["dropped"]["near_holdout"] >= counts["zh"]["holdout_documents"]
    for source in counts.values():
        kept = source["train_documents"] + source["holdout_documents"]
        assert kept + sum(source["dropped"].values()) == source["read"]


def test_without_dedup_a_copy_made_of_short_lines_is_recognised_too(folder: Path) -> None:
    verses = ["\n".join(chinese(n)[i : i + 7] for i in range(0, 130, 7)) for n in range(40)]
    jsonl(folder / "verses.jsonl", verses)
    two = {"name": "two", "paths": ["verses.jsonl"], "language": "zh"}
    jsonl(folder / "half.jsonl", verses[:20])
    half = {"name": "half", "paths": ["half.jsonl"], "language": "zh"}
    counts = build_corpus(corpus(half, two, dedup={"exact": False}), "zh", folder, folder / "more")
    texts = {
        (name, part): {
            document.text
            for document in read_documents(folder / "more" / part / f"{name}.jsonl.zst")
        }
        for name in ("half", "two")
        for part in ("train", "holdout")
    }
    held = texts["half", "holdout"] | texts["two", "holdout"]
    assert held and not held & (texts["half", "train"] | texts["two", "train"])
    assert sum(s["dropped"].get("near_holdout", 0) for s in counts["sources"].values()) > 0


def test_normalise_none_keeps_texts_as_they_are(folder: Path) -> None:
    jsonl(folder / "zh.jsonl", [chinese(n) + "ＡＢ \r\n" for n in range(20)])
    build_corpus(corpus(ZH, clean={"normalise": "none"}), "zh", folder, folder / "out")
    first = next(read_documents(folder / "out" / "train" / "zh.jsonl.zst"))
    assert first.text.endswith("ＡＢ \r\n")
    build_corpus(corpus(ZH), "zh", folder, folder / "clean")
    first = next(read_documents(folder / "clean" / "train" / "zh.jsonl.zst"))
    assert first.text.endswith("。AB")


def test_a_source_with_nothing_left_is_named_with_the_reasons(folder: Path) -> None:
    jsonl(folder / "zh.jsonl", ["短", "短", chinese(1) + DIGITS * 4])
    with pytest.raises(BadInput, match=r"'zh' is left .*min_tokens 2, max_digit_share 1"):
        build_corpus(corpus(ZH), "zh", folder, folder / "out")


def test_a_source_too_small_to_hold_anything_out_is_an_error(folder: Path) -> None:
    jsonl(folder / "zh.jsonl", [chinese(n) for n in range(3)])
    with pytest.raises(BadInput, match="'zh' has 3 documents, and none fits into a quarter"):
        build_corpus(corpus(ZH), "zh", folder, folder / "out")


def test_a_small_holdout_is_warned_about(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {"bytes": 1_000_000}
    counts = build_corpus(corpus(ZH, holdout=wanted), "zh", folder, folder / "out")["sources"]["zh"]
    held = counts["holdout_bytes"]
    assert held * 4 <= held + counts["train_bytes"]
    shown = " ".join(capsys.readouterr().err.split())
    assert f"source zh: {held:,} bytes are held out, not 1,000,000" in shown


def test_mistakes_are_found_before_anything_is_read(folder: Path) -> None:
    missing = EN | {"paths": ["none*.jsonl"]}
    with pytest.raises(BadInput, match=r"none\*\.jsonl: matches no file"):
        build_corpus(corpus(ZH, missing), "zh", folder, folder / "out")
    with pytest.raises(BadInput, match="no rule is called 'min_words'"):
        build_corpus(corpus(ZH, thresholds={"min_words": 3}), "zh", folder, folder / "out")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("out", ["file", "file/out"])
def test_a_file_in_the_place_of_the_folder_is_one_clear_error(folder: Path, out: str) -> None:
    (folder / "file").touch()
    with pytest.raises(RunFailed, match=r"cannot write .*choose another folder"):
        build_corpus(corpus(ZH), "zh", folder, folder / out)


def test_a_disk_that_refuses_leaves_nothing_under_a_final_name(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000, hard))
    try:
        with pytest.raises(RunFailed, match="cannot write"):
            build_corpus(corpus(ZH), "zh", folder, folder / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    left = {path.relative_to(folder / "out") for path in (folder / "out").rglob("*.*")}
    assert all(path.parts[0] == WORK for path in left)  # finished shards, for the next attempt
    assert not any(path.suffix == ".partial" for path in left)


def test_input_hashes_are_named_as_the_recipe_writes_them(folder: Path) -> None:
    (folder / "recipes").mkdir()
    named = corpus(
        ZH | {"paths": ["../zh.jsonl"]},
        EN | {"paths": [str(folder / "e*.jsonl")]},
    )
    hashes = input_hashes(named, folder / "recipes")
    assert hashes == {
        "../zh.jsonl": sha256_file(folder / "zh.jsonl"),
        str(folder / "en.jsonl"): sha256_file(folder / "en.jsonl"),
    }


def test_the_quickstart_texts_pass_almost_whole(root: Path, tmp_path: Path) -> None:
    data = "data/quickstart"
    settings = {
        "sources": [
            {"name": "zh", "paths": [f"{data}/zh.jsonl.zst"], "language": "zh"},
            {"name": "en", "paths": [f"{data}/en.jsonl.zst"], "language": "en"},
        ],
        "rules": "zh",
    }
    counts = build_corpus(Corpus.model_validate(settings), "zh", root, tmp_path)["sources"]
    for source in counts.values():
        by_rules = sum(n for reason, n in source["dropped"].items() if reason != "near_holdout")
        assert by_rules / source["read"] < 0.03
        assert 200_000 <= source["holdout_bytes"] <= 230_000
        assert source["malformed"] == 0
    zh = counts["zh"]
    assert zh["train_bytes"] + zh["holdout_bytes"] > 4_000_000
    assert counts["en"]["train_bytes"] > 1_500_000
