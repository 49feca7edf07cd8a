"""Benchmark items are found by 13-grams and cut out; the kernel does what the definition says."""

from __future__ import annotations

import gzip
import json
import tarfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.corpus.benchmark_items import SUITES, benchmark_items
from langraft.corpus.decontaminate import COMMON, SHORTEST, Decontaminator, Hit, Item, cut
from langraft.corpus.fold import SINGLE, WORD, fold_table

MAGNET = "免疫磁珠是免疫微球的一种,它是包被有单克隆抗体的球型磁性微粒"
FOX = "The quick brown fox jumps over the lazy dog, and then it goes home to sleep"


def tokens(text: str) -> list[str]:
    """The definition, one character at a time."""
    found: list[str] = []
    inside = False
    table = fold_table()
    for character in text:
        entry = int(table[ord(character)]) if ord(character) < len(table) else 0
        kind, folded = entry >> 30, chr(entry & 0x3FFFFFFF)
        if kind == WORD and inside:
            found[-1] += folded
        elif kind:
            found.append(folded)
        inside = kind == WORD
    return found


def grams(text: str, n: int) -> set[tuple[str, ...]]:
    words = tokens(text)
    return {tuple(words[place : place + n]) for place in range(len(words) - n + 1)}


def test_a_run_of_thirteen_characters_or_words_is_a_hit() -> None:
    index = Decontaminator([Item("csl", "7", MAGNET), Item("en", "3", FOX)], min_share=0.0)
    assert len(index) == 2
    texts = [
        f"前文。{MAGNET[:14]}。后文",  # thirteen characters and a comma
        f"前文。{MAGNET[:13]}。后文",  # twelve
        FOX.upper().replace(" ", "\n"),
        " ".join(FOX.split()[:12]),
        "",
    ]
    hits = index.hits(texts)
    assert [len(found) for found in hits] == [1, 0, 1, 0, 0]
    assert hits[0] == [Hit("csl", "7", ((3, 17),), 1, 1 / 17)]
    assert hits[2] == [Hit("en", "3", ((0, len(FOX)),), 4, 1.0)]


def test_an_item_must_be_there_to_the_share_asked_for() -> None:
    half = f"引言。{MAGNET[:22]}"  # nine of the item's seventeen 13-grams
    for share, found in ((0.0, 1), (0.5, 1), (0.55, 0), (1.0, 0)):
        hits = Decontaminator([Item("s", "1", MAGNET)], min_share=share).hits([half])
        assert len(hits[0]) == found, share


def test_short_items_are_found_as_whole_lines_only() -> None:
    index = Decontaminator(
        [Item("tnews", "1", "农村依然很重视土葬"), Item("tnews", "2", "举头三尺")]
    )
    found = index.hits(
        [
            "新闻\n 农村，依然很重视土葬！\n完",
            "他说农村依然很重视土葬的",
            "举头三尺。",
            "举头三尺\n有神明",  # a line of four characters proves nothing
        ]
    )
    assert [[hit.item for hit in hits] for hits in found] == [["1"], [], ["2"], []]


def test_width_case_and_punctuation_do_not_count() -> None:
    item = Item("s", "1", "使用ＧＰＴ－4模型回答，下列说法中错误的是哪一项内容？")
    text = "使用gpt-4模型回答下列 说法中错误的是(哪一项)内容"
    assert Decontaminator([item]).hits([text])[0][0].share == 1.0


def test_phrases_of_many_items_are_nobodys() -> None:
    phrase = "下列关于这个问题的各种说法中正确的是"
    items = [Item("s", str(n), f"{phrase}{chr(0x4E00 + 97 * n) * 14}") for n in range(COMMON + 1)]
    assert Decontaminator(items, min_share=0.0).hits([phrase]) == [[]]
    assert len(Decontaminator(items[:-1], min_share=0.0).hits([phrase])[0]) == COMMON


def test_texts_of_one_item_count_apart_and_are_one_hit() -> None:
    question, choices = MAGNET, "甲乙丙丁戊己庚辛壬癸子丑寅卯辰巳午未申酉戌亥" * 3
    items = [Item("s", "1", question), Item("s", "1", f"{question} {choices}")]
    hits = Decontaminator(items).hits([f"一、{question}"])
    assert [(hit.item, hit.share) for hit in hits[0]] == [("1", 1.0)]


def test_the_sentences_of_a_hit_are_cut() -> None:
    text = f"第一句。第二句说：{MAGNET}。第三句！\nFourth. {FOX}. Fifth.\n{MAGNET}"
    index = Decontaminator([Item("s", "1", MAGNET), Item("s", "2", FOX)])
    (hits,) = index.hits([text])
    assert [len(hit.spans) for hit in hits] == [2, 1]
    assert cut(text, hits) == "第一句。第三句！\nFourth. Fifth.\n"
    assert cut(text, []) == text


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"ngram": SHORTEST - 1}, "tokens are shared by chance"), ({"min_share": 1.5}, "not between")],
)
def test_settings_are_checked(settings: dict[str, float], reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        Decontaminator([], **settings)  # type: ignore[arg-type]


def test_nothing_to_look_for_finds_nothing() -> None:
    assert Decontaminator([]).hits(["随便一段文字", ""]) == [[], []]
    assert Decontaminator([Item("s", "1", "短")]).hits([]) == []


@given(
    st.lists(st.text("ab 中文字A，\n。Ａ\ud800\U0001f600", max_size=60), max_size=4),
    st.lists(st.text("ab 中文字A，\n。Ａ\ud800\U0001f600", max_size=90), max_size=4),
)
def test_the_kernel_does_what_the_definition_says(items: list[str], texts: list[str]) -> None:
    n = SHORTEST
    index = Decontaminator(
        [Item("s", str(number), text) for number, text in enumerate(items)], ngram=n, min_share=0.0
    )
    for text, hits in zip(texts, index.hits(texts), strict=True):
        expected = {str(i) for i, item in enumerate(items) if grams(item, n) & grams(text, n)}
        assert {hit.item for hit in hits if len(tokens(items[int(hit.item)])) >= n} == expected
        for hit in hits:
            assert all(0 <= start < stop <= len(text) for start, stop in hit.spans)


@given(st.text())
def test_folding_is_lower_case_and_compatible(text: str) -> None:
    table = fold_table()
    for character in text:
        if ord(character) < len(table):
            entry = int(table[ord(character)])
            letter = unicodedata.category(character)[0] in "LNM"
            assert (entry > 0) == letter
            if entry >> 30 == SINGLE:
                assert not character.isascii()


def test_the_suites_of_the_material_have_items(benchmarks: Path) -> None:
    for suite, least in {"cmmlu": 2 * 11_917, "ceval": 2 * 13_948, "mmlu": 2 * 15_858}.items():
        items = list(benchmark_items({suite: benchmarks}))
        assert len(items) == least
    items = list(benchmark_items(dict.fromkeys(SUITES, benchmarks)))
    assert {item.suite for item in items} == set(SUITES)
    assert sum(bool(item.text.strip()) for item in items) > 0.999 * len(items)


def test_a_suite_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"suites\.cmlu: no layout of a folder has that name"):
        list(benchmark_items({"cmlu": tmp_path}))
    with pytest.raises(BadInput, match=r"suites\.gsm8k: .* holds no files of the suite"):
        list(benchmark_items({"gsm8k": tmp_path}))
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k/test.jsonl").write_text('{"body": 1}\n')
    with pytest.raises(BadInput, match=r"test\.jsonl: does not have the layout of 'gsm8k'"):
        list(benchmark_items({"gsm8k": tmp_path}))


def test_a_suite_of_ones_own_is_a_file_of_texts(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text('{"text": "一"}\n{"text": "二"}\n')
    assert list(benchmark_items({"own": tmp_path / "own.jsonl"})) == [
        Item("own", "own.jsonl:1", "一"),
        Item("own", "own.jsonl:2", "二"),
    ]


def corpus(material: Path, name: str) -> list[dict[str, str]]:
    with open_binary(material / "corpora" / f"{name}.jsonl.zst") as stream:
        return [json.loads(line) for line in stream]


def test_fewclue_texts_are_caught_and_clean_ones_are_not(material: Path, benchmarks: Path) -> None:
    suites = ("fewclue_csl", "fewclue_tnews", "cmmlu", "ceval", "mmlu")
    index = Decontaminator(benchmark_items(dict.fromkeys(suites, benchmarks)))
    for name in ("csl", "tnews"):
        documents = corpus(material, f"zh/fewclue_{name}")
        leaked = [d["text"] for d in documents if d["path"].endswith("test_public.json")]
        caught = sum(bool(hits) for hits in index.hits(leaked))
        assert caught >= 0.999 * len(leaked) and len(leaked) > 1_700, name
    for name in ("zh/lctt_zh", "zh/ruanyf_weekly", "zh/noisy_reviews", "en/c4_demo"):
        texts = [d["text"] for d in corpus(material, name)]
        assert sum(bool(hits) for hits in index.hits(texts)) == 0, name


def test_a_suite_may_lie_in_an_archive(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    record = {"question": "How many?", "answer": "Three."}
    (tmp_path / "gsm8k" / "test.jsonl").write_text(json.dumps(record) + "\n")
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "gsm8k", "gsm8k")
    packed = list(benchmark_items({"gsm8k": tmp_path / "all.tar.gz"}))
    assert packed == list(benchmark_items({"gsm8k": tmp_path})) and len(packed) == 2
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.add(tmp_path / "gsm8k" / "test.jsonl", "../gsm8k/test.jsonl")
    for name in ("evil.tar", "broken.tar.gz"):
        (tmp_path / "broken.tar.gz").write_bytes(gzip.compress(b"no archive" * 200))
        with pytest.raises(BadInput, match=f"{name}: not a tar archive that can be unpacked"):
            list(benchmark_items({"gsm8k": tmp_path / name}))
