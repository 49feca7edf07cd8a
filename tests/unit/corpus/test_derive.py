"""Thresholds from a clean sample: they drop the tail that was asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from langraft.core.errors import BadInput
from langraft.corpus.derive import LEAST, SMALLEST, derive
from langraft.corpus.kernels.texts import Texts
from langraft.corpus.rules import RULES, TABLES, measured


def sample(numbers: range) -> list[str]:
    """Texts of 100 tokens, so many of which are numbers."""
    return [
        " ".join(["7"] * n + [f"{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(100 - n)])
        for n in numbers
    ]


def test_the_tail_of_the_sample_is_dropped() -> None:
    texts = sample(range(50)) * 2  # digit shares from 0 to about a third
    found = derive(texts, ("Latin",), tail=0.1)
    assert found["documents"] == 100 and set(found["thresholds"]) == set(RULES)
    limit = found["thresholds"]["max_digit_share"]
    shares = measured(Texts.of(texts), ["max_digit_share"], ("Latin",))[:, 0]
    assert (shares > limit).mean() == pytest.approx(0.1, abs=0.021)
    assert set(found["from"].values()) == {"tail"}


def test_a_fault_that_never_comes_still_has_room() -> None:
    found = derive(sample(range(1)) * LEAST, ())
    assert found["thresholds"]["max_garbage_share"] == SMALLEST
    assert "min_script_share" not in found["thresholds"]


def test_a_limit_carries_over_from_english_by_the_share_it_cuts_off() -> None:
    english = sample(range(0, 100, 2)) * 2  # the limit of 0.25 cuts off more than a third
    there = measured(Texts.of(english), ["max_digit_share"], ("Latin",))[:, 0]
    limit = next(row.limit for row in TABLES["en"].rows if row.key == "max_digit_share")
    share = float((there > limit).mean())
    assert 0.3 < share < 0.8
    own = sample(range(40)) * 3
    found = derive(own, ("Latin",), english)
    assert found["from"]["max_digit_share"] == "english"
    expected = np.quantile(
        measured(Texts.of(own), ["max_digit_share"], ("Latin",))[:, 0], 1 - share
    )
    assert found["thresholds"]["max_digit_share"] == pytest.approx(expected, abs=1e-4)


def test_small_samples_and_odd_tails_are_refused() -> None:
    with pytest.raises(BadInput, match=f"--text: {LEAST - 1} documents; {LEAST} clean ones"):
        derive(sample(range(1)) * (LEAST - 1), ())
    with pytest.raises(BadInput, match="--english: 1 documents"):
        derive(sample(range(1)) * LEAST, (), ["one"])
    with pytest.raises(BadInput, match=r"--tail 0\.9"):
        derive(sample(range(1)) * LEAST, (), tail=0.9)


def test_real_prose_passes_its_own_limits(texts_of: Callable[..., list[str]]) -> None:
    texts = texts_of("zh/ruanyf_weekly", 200)
    found = derive(texts, ("Han",), tail=0.01)["thresholds"]
    matrix = measured(Texts.of(texts), found, ("Han",))
    for column, (key, limit) in enumerate(found.items()):
        values = matrix[:, column]
        beyond = values < limit if key.startswith("min_") else values > limit
        assert beyond.mean() <= 0.02, key
