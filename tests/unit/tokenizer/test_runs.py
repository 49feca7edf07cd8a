"""Units and runs worked by hand on the base of bare bytes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.runs import Corpus, read_corpus
from langraft.tokenizer.scripts import read_scripts


def _read(base: Path, *texts: str) -> Corpus:
    return read_corpus(load_encoder(base), texts, read_scripts(["Han"]))


def _runs(corpus: Corpus) -> dict[str, int]:
    def text(run: Iterable[int]) -> str:
        return b"".join(corpus.bytes_of(corpus.units[unit]) for unit in run).decode()

    return {text(run): count for run, count in corpus.runs}


def test_runs_end_at_marks_letters_spaces_and_texts(bytes_base: Path) -> None:
    corpus = _read(bytes_base, "我们，我们a学 习", "我们", "")
    assert _runs(corpus) == {"我们": 3, "学": 1, "习": 1}
    assert corpus.characters == 11 + 2  # and a line break between texts


def test_unfinished_units_are_counted_with_their_base_tokens(bytes_base: Path) -> None:
    corpus = _read(bytes_base, "我，我é“")
    found = {corpus.bytes_of(ids).decode(): (len(ids), n) for ids, n in corpus.unfinished.items()}
    assert found == {"我": (3, 2), "，": (3, 1)}


def test_a_text_past_the_limit_loses_its_rarest_runs(bytes_base: Path) -> None:
    texts = ["我们。" * 3, "学习。", "文字。他们。他们"]
    corpus = read_corpus(load_encoder(bytes_base), texts, read_scripts(["Han"]), most=4)
    assert _runs(corpus) == {"我们": 3, "他们": 2}
    assert corpus.characters == sum(map(len, texts)) + 2


def test_a_long_run_is_learnt_from_in_parts(bytes_base: Path) -> None:
    assert _runs(_read(bytes_base, "我" * 401 + "，" + "们" * 200)) == {
        "我" * 200: 2,
        "我": 1,
        "们" * 200: 1,
    }


def test_a_space_in_front_belongs_to_words_of_scripts_that_have_spaces(bytes_base: Path) -> None:
    corpus = read_corpus(load_encoder(bytes_base), ["Мир труд, мир"], read_scripts(["Cyrillic"]))
    assert _runs(corpus) == {"Мир": 1, " труд": 1, " мир": 1}


def test_mixed_runs_take_the_foreign_word_beside_them(bytes_base: Path) -> None:
    texts = ["in TiDB集群 v5版", "plain words"]
    corpus = read_corpus(load_encoder(bytes_base), texts, read_scripts(["Han"], mixed=True))
    assert _runs(corpus) == {" TiDB集群": 1, " v": 1, "5": 1, "版": 1}
