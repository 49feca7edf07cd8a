"""Units and runs worked by hand on the base of bare bytes; even samples of long texts."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.runs import FIRST_SYMBOL, Corpus, read_corpus, sample
from langraft.tokenizer.scripts import read_scripts


def _read(base: Path, *texts: str) -> Corpus:
    return read_corpus(load_encoder(base), texts, read_scripts(["Han"]))


def _runs(corpus: Corpus) -> dict[str, int]:
    def text(run: str) -> str:
        units = (corpus.units[ord(symbol) - FIRST_SYMBOL] for symbol in run)
        return b"".join(map(corpus.bytes_of, units)).decode()

    return {text(run): count for run, count in corpus.runs.items()}


def test_runs_end_at_marks_letters_spaces_and_texts(bytes_base: Path) -> None:
    corpus = _read(bytes_base, "我们，我们a学 习", "我们", "")
    assert _runs(corpus) == {"我们": 3, "学": 1, "习": 1}
    assert corpus.characters == 11
    assert corpus.tokens == 8 * 3 + 3 + 2


def test_unfinished_units_are_counted_with_their_base_tokens(bytes_base: Path) -> None:
    corpus = _read(bytes_base, "我，我é“")
    found = {corpus.bytes_of(ids).decode(): (len(ids), n) for ids, n in corpus.unfinished.items()}
    assert found == {"我": (3, 2), "，": (3, 1)}


def test_a_short_text_is_taken_whole() -> None:
    assert sample(["a" * 10, "b" * 10], 20) == (["a" * 10, "b" * 10], 1)


def test_a_long_text_is_sampled_evenly() -> None:
    assert sample([str(n) * 5 for n in range(10)], 20) == (["00000", "44444", "88888"], 4)


def test_one_long_text_is_cut() -> None:
    kept, stride = sample(["ab" * 500_000], 300_000)
    assert ([len(part) for part in kept], stride) == ([200_000], 8)


@given(st.lists(st.text(alphabet="ab", min_size=1, max_size=9), max_size=40), st.integers(9, 60))
def test_samples_keep_the_limit_and_the_order(texts: list[str], most: int) -> None:
    kept, stride = sample(texts, most)
    assert sum(map(len, kept)) <= most
    assert kept == texts[::stride]
    if stride > 1:
        assert sum(map(len, texts[:: stride // 2])) > most
