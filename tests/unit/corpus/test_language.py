"""Scripts decide where they can, the model where they cannot, and mixed documents are marked."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.corpus.fold import HIGHEST, code_points
from langraft.corpus.language import UNKNOWN, LanguageIdentifier, found_model
from langraft.corpus.script_kernel import SCRIPTS, line_bytes, script_table

TextsOf = Callable[..., list[str]]


@pytest.fixture(scope="module")
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier()


# Article 1 of the Universal Declaration of Human Rights.
SENTENCES = {
    "zh": "人人生而自由，在尊严和权利上一律平等。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "en": "All human beings are born free and equal in dignity and rights.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "uk": "Всі люди народжуються вільними і рівними у своїй гідності та правах.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "fa": "تمام افراد بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता प्राप्त है।",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια.",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
}


def test_languages_of_many_scripts(identifier: LanguageIdentifier) -> None:
    found = identifier.identify(list(SENTENCES.values()))
    assert [one.language for one in found] == list(SENTENCES)
    assert not any(one.mixed for one in found)
    assert {one.confidence for one, code in zip(found, SENTENCES, strict=True) if code == "zh"} == {
        1
    }


def test_classical_chinese_is_not_japanese(identifier: LanguageIdentifier) -> None:
    """The trap: the model alone takes this for Japanese with 89 %."""
    text = "子曰學而時習之不亦說乎"
    assert identifier._model_says(text)[0] != "zh"
    assert identifier.identify([text])[0].language == "zh"


def test_a_quoted_name_makes_nothing_japanese(identifier: LanguageIdentifier) -> None:
    text = "任天堂的游戏《スプラ》在日本和中国都受到了玩家的欢迎，销量超过了一千万份。"
    assert identifier.identify([text])[0].language == "zh"


def test_code_does_not_make_a_chinese_page_english(identifier: LanguageIdentifier) -> None:
    code = "\n".join(
        f"public static void main{n}(String[] args) {{ foo.bar({n}); }}" for n in range(40)
    )
    found = identifier.identify([f"下面是一个简单的例子：\n{code}\n运行它就可以了。"])[0]
    assert (found.language, found.mixed) == ("zh", False)
    assert identifier.identify([code])[0].language != "zh"


def test_mixed_documents_are_marked_with_their_shares(identifier: LanguageIdentifier) -> None:
    """Shares are of UTF-8 bytes of letters: 3 for a Chinese character."""
    chinese = "\n".join([SENTENCES["zh"]] * 3)  # 17 characters
    english = "\n".join([SENTENCES["en"]] * 2)  # 51 letters
    found = identifier.identify([f"{chinese}\n{english}", f"{chinese}\n{english}\n{english}"])
    assert [one.mixed for one in found] == [True, True]
    assert [one.language for one in found] == ["zh", "en"]
    assert found[0].shares == pytest.approx({"zh": 153 / 255, "en": 102 / 255})
    assert LanguageIdentifier(mixed=0.45).identify([f"{chinese}\n{english}"])[0].mixed is False


def test_texts_without_letters(identifier: LanguageIdentifier) -> None:
    found = identifier.identify(["", "1 + 1 = 2\n\n", "\0", "\ud800"])
    assert {one.language for one in found} == {UNKNOWN}
    assert identifier.identify([]) == []


def test_an_identifier_can_be_sent_to_another_process(identifier: LanguageIdentifier) -> None:
    """As Daft's workers on other machines get it: pickled, and by nothing that they remember."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as workers:
        (found,) = workers.submit(identifier.identify, [SENTENCES["fr"]]).result()
    assert found.language == "fr"


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.ftz: no such file"):
        LanguageIdentifier(tmp_path / "none.ftz")
    (tmp_path / "bad.ftz").write_bytes(b"not a model")
    with pytest.raises(BadInput, match=r"bad\.ftz: not a fastText model"):
        LanguageIdentifier(tmp_path / "bad.ftz").identify(["Some English words in a line"])


def test_the_model_of_the_package_is_the_one_of_the_material(material: Path) -> None:
    assert found_model().read_bytes() == (material / "lid" / "lid.176.ftz").read_bytes()


@given(st.text(st.characters(max_codepoint=HIGHEST - 1, exclude_categories=["Cs"]), max_size=40))
def test_scripts_are_those_of_unicode(text: str) -> None:
    for character in text:
        number = script_table()[ord(character)]
        if number < len(SCRIPTS):
            names = "Hiragana}\\p{Katakana" if SCRIPTS[number] == "Hiragana" else SCRIPTS[number]
            assert regex.fullmatch(rf"(?V1)[\p{{{names}}}]", character)


@given(st.lists(st.text("aé中か\n 1😀", max_size=30), max_size=5))
def test_letters_are_counted_once(texts: list[str]) -> None:
    codes, offsets = code_points(texts)
    prose, every = line_bytes(codes, offsets, script_table())
    assert (prose <= every).all()
    for text, counts in zip(texts, every, strict=True):
        assert counts.sum() == sum(len(c.encode()) for c in text if c in "aé中か")


def test_corpora_are_in_their_language(texts_of: TextsOf, identifier: LanguageIdentifier) -> None:
    least = {
        "zh/classical_original": 1.0,
        "zh/chinese_poetry": 1.0,
        "zh/laws": 1.0,
        "zh/tidb_docs_cn": 0.985,  # the rest is in English, but for one file of names
        "zh/noisy_reviews": 0.998,
        "en/openstax_biology": 1.0,
        "en/c4_demo": 0.99,
        "en/rust_book": 1.0,
    }
    for name, share in least.items():
        found = Counter(one.language for one in identifier.identify(texts_of(name, 1_000)))
        assert found[name[:2]] >= share * found.total(), (name, found)


def test_planted_mixtures_are_found(texts_of: TextsOf, identifier: LanguageIdentifier) -> None:
    """Chinese and English prose of like size in one document, against each alone."""
    draw = random.Random(3)
    chinese = [text[:900] for text in texts_of("zh/ruanyf_weekly", 200)]
    english = [text[:2_000] for text in texts_of("en/c4_demo") if len(text) > 1_000]
    draw.shuffle(english)
    both = [f"{one}\n{other}" for one, other in zip(chinese, english, strict=False)]
    assert len(both) >= 100
    assert sum(one.mixed for one in identifier.identify(both)) >= 0.95 * len(both)
    assert sum(one.mixed for one in identifier.identify(chinese + english)) == 0
