"""Learning worked by hand on a base of bare bytes, then its properties on real text."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizer_bases import documents

from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.learn import Candidates, Learned, learn
from langraft.tokenizer.pruning import unused_leaves
from langraft.tokenizer.runs import read_corpus
from langraft.tokenizer.scripts import read_scripts

YOU, GOOD, MANY = "你".encode(), "好".encode(), "们".encode()
# 你 14 times, 好 13 times, 们 4 times; 你好 10 times, 你们 4 times.
TEXTS = ["你好 "] * 10 + ["你们,"] * 4 + ["好 ok"] * 3


def _learn(base: Path, texts: list[str], size: int, mixed: bool = False, **options: int) -> Learned:
    corpus = read_corpus(load_encoder(base), texts, read_scripts(["Han"], mixed=mixed))
    settings_ = {"min_frequency": 2, "max_piece_characters": 8} | options
    return learn(corpus, size=size, **settings_)


def test_five_pieces_by_hand(bytes_base: Path) -> None:
    """Each merge saves as many tokens as its pair occurs: 14, 14, 13, 13, then 你好 with 10."""
    found = _learn(bytes_base, TEXTS, 5)
    assert found.pieces == [YOU[:2], YOU, GOOD[:2], GOOD, YOU + GOOD]
    assert found.merges == [
        (YOU[:1], YOU[1:2]),
        (YOU[:2], YOU[2:]),
        (GOOD[:1], GOOD[1:2]),
        (GOOD[:2], GOOD[2:]),
        (YOU, GOOD),
    ]
    assert found.least_frequent == 10
    # 们 stays unfinished, so 你 stands alone 4 times; the scaffolds occur nowhere in the end.
    assert found.uses == {YOU[:2]: 0, YOU: 4, GOOD[:2]: 0, GOOD: 3, YOU + GOOD: 10}


def test_all_eight_pieces_by_hand(bytes_base: Path) -> None:
    found = _learn(bytes_base, TEXTS, 100)
    assert found.pieces[-4:] == [MANY[:2], MANY, YOU + GOOD, YOU + MANY]
    assert len(found.pieces) == 8
    assert found.least_frequent == 4
    # 你们 always stands as one piece, but it is made of 们, which therefore stays.
    assert found.uses[MANY] == 0
    assert found.uses[YOU] == 0


def test_idle_pieces_of_a_short_text_stay_when_nothing_takes_their_place(bytes_base: Path) -> None:
    texts = [text[:3000] for text in documents("zh")[:20]]
    corpus = read_corpus(load_encoder(bytes_base), texts, read_scripts(["Han"]))
    most = len(Candidates.of(corpus, 100_000, 2, 16).choose(100_000).pieces)
    size = int(0.9 * most)
    found = learn(corpus, size=size, min_frequency=2, max_piece_characters=16)
    assert len(found.pieces) == size


def test_a_frequent_character_goes_before_a_rare_word(bytes_base: Path) -> None:
    """Both kinds of merges are cut at the same count. 你 and 好 stand alone once, or they would be
    idle and go with 你好."""
    texts = ["你好 "] * 10 + ["们 "] * 9 + ["你 ", "好 "]
    assert _learn(bytes_base, texts, 5).pieces[-1] == YOU + GOOD
    assert _learn(bytes_base, texts, 7).pieces[4:6] == [MANY[:2], MANY]


def test_min_frequency_and_longest_piece(bytes_base: Path) -> None:
    assert _learn(bytes_base, TEXTS, 100, min_frequency=5).least_frequent == 10
    assert MANY not in _learn(bytes_base, TEXTS, 100, min_frequency=5).pieces
    short = _learn(bytes_base, TEXTS, 100, max_piece_characters=1).pieces
    assert max(len(piece) for piece in short) == 3
    assert len(short) == 6


def test_nothing_joins_across_marks_digits_spaces_or_letters(bytes_base: Path) -> None:
    texts = ["你，好1你a好 你\n"] * 20
    pieces = [piece.decode() for piece in _learn(bytes_base, texts, 100).pieces if len(piece) == 3]
    longer = [piece for piece in _learn(bytes_base, texts, 100).pieces if len(piece) > 3]
    assert sorted(pieces) == ["你", "好", "，"]
    assert longer == []


def test_text_without_the_script_teaches_nothing(bytes_base: Path) -> None:
    found = _learn(bytes_base, ["plain English, 123 😀"], 10)
    assert (found.pieces, found.merges, found.least_frequent) == ([], [], 0)


def test_a_product_that_the_base_has_is_left_out(tmp_path: Path) -> None:
    """The base knows 你好 by a merge that this text never shows; the pair may not make it anew."""
    from tokenizer_bases import all_bytes_definition

    from langraft.core.io import write_json
    from langraft.tokenizer.alphabet import to_symbols

    definition = all_bytes_definition()
    definition["model"]["vocab"][to_symbols(YOU + GOOD)] = 256
    write_json(tmp_path / "tokenizer.json", definition)
    assert YOU + GOOD not in _learn(tmp_path, TEXTS, 100).pieces


def test_unused_leaves_go_and_what_longer_pieces_need_stays() -> None:
    """ab is unused but abc is made of it; de and def are unused and nothing kept needs them."""
    pieces = [b"ab", b"de", b"abc", b"def", b"gh"]
    merges = [(b"a", b"b"), (b"d", b"e"), (b"ab", b"c"), (b"de", b"f"), (b"g", b"h")]
    uses = Counter({b"abc": 3, b"gh": 1})
    assert unused_leaves(pieces, merges, uses) == {b"de", b"def"}


def test_nothing_joins_two_foreign_units(bytes_base: Path) -> None:
    """Mixed: digits and Latin letters join Chinese characters, and never one another."""
    texts = ["用vi写", "第3章"] * 20
    plain = [piece.decode(errors="ignore") for piece in _learn(bytes_base, texts, 100).pieces]
    assert not any(character in "".join(plain) for character in "vi3")
    pieces = _learn(bytes_base, texts, 100, mixed=True).pieces
    longer = [piece.decode() for piece in pieces if len(piece) > 3]
    assert longer
    assert all(any("\u3400" <= c <= "\u9fff" for c in piece) for piece in longer)
    assert any("v" in piece for piece in longer)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.text(alphabet="你好们的不，a ", min_size=1, max_size=12), min_size=1, max_size=20),
    st.integers(1, 40),
)
def test_every_piece_is_made_of_earlier_ones(texts: list[str], size: int) -> None:
    import tempfile

    from tokenizer_bases import all_bytes_definition

    from langraft.core.io import write_json

    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "tokenizer.json", all_bytes_definition())
        found = _learn(Path(folder), texts, size, min_frequency=1)
    known = {bytes([byte]) for byte in range(256)}
    for left, right in found.merges:
        assert left in known
        assert right in known
        known.add(left + right)
    assert len(found.pieces) == len(set(found.pieces)) <= size
    assert set(found.pieces) <= known
