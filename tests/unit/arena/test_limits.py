from __future__ import annotations

import pytest

from langraft.arena import limits
from langraft.arena.limits import Budget


def test_a_budget_refills_and_never_saves_more_than_a_minute() -> None:
    budget = Budget(3)
    assert [budget.take("1.2.3.4", now=0.0) for _ in range(4)] == [True, True, True, False]
    assert not budget.take("1.2.3.4", now=19.0)
    assert budget.take("1.2.3.4", now=21.0)
    assert budget.take("5.6.7.8", now=21.0)
    assert [budget.take("1.2.3.4", now=9999.0) for _ in range(4)] == [True, True, True, False]


def test_an_ipv6_customer_is_one_address() -> None:
    budget = Budget(2)
    assert budget.take("2001:db8:1:2::1", now=0.0) and budget.take("2001:db8:1:2::2", now=0.0)
    assert not budget.take("2001:db8:1:2:ffff::3", now=0.0)
    assert budget.take("2001:db8:1:3::1", now=0.0)


def test_addresses_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_ADDRESSES", 100)
    budget = Budget(1)
    for number in range(150):
        budget.take(str(number), now=0.0)
    assert len(budget._left) == 100
    assert not budget.take("149", now=0.0) and budget.take("0", now=0.0)
