"""The plan against what was published."""

from __future__ import annotations

import pytest

from langraft.plan.published import CHECKS, Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_within_a_quarter_where_the_card_says_enough(check: object) -> None:
    found = check()  # type: ignore[operator]
    assert isinstance(found, Check)
    assert found.ours > 0
    if found.enough:
        assert 0.75 <= found.ratio <= 1.25, found


def test_the_numbers_themselves() -> None:
    """They change only when the model of the machine does, and then docs/numbers.md does too."""
    found = {check.__name__: round(check().ours, 2) for check in CHECKS}
    assert found["colossal_hours"] == 13.62
    assert found["ziya_days"] == 7.15
    assert found["chinese_llama_adapter"] == 1.14
