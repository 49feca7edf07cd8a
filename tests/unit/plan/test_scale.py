"""Losses of many devices: closed forms, published numbers, and a simulation."""

from __future__ import annotations

import dataclasses
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langraft.core.errors import BadInput
from langraft.plan.devices import LINKS, Link
from langraft.plan.scale import (
    REACHED,
    Cluster,
    collective,
    daly,
    goodput,
    messages,
    scaling,
    simulate,
    slowest,
    young,
)

PLAIN = Link("a byte a second", 1 / REACHED, 0.0)
CLUSTER = Cluster(8, 8, LINKS["nvlink4"], LINKS["ib-ndr"])


def test_a_ring_moves_all_but_its_own_part() -> None:
    assert collective(8, 1, PLAIN) == 0
    assert collective(8, 2, PLAIN) == pytest.approx(4)
    assert collective(8, 8, PLAIN) == pytest.approx(7)
    assert collective(8, 8, dataclasses.replace(PLAIN, latency=2)) == pytest.approx(7 + 14)


def test_a_steps_messages() -> None:
    """Twice the weights in 2 bytes and once the gradients in 4; copies add twice their shard."""
    cluster = Cluster(4, 4, PLAIN, PLAIN)
    assert messages(100, 100, cluster, 4) == pytest.approx((2 * 200 + 400) * 3 / 4)
    assert messages(100, 100, cluster, 2) == pytest.approx((2 * 200 + 400) / 2 + 2 * 200 / 2)
    assert messages(100, 100, cluster, 1) == pytest.approx(2 * 400 * 3 / 4)


@pytest.mark.parametrize(("ranks", "expected"), [(1, 0), (2, 0.564), (10, 1.539), (1000, 3.241)])
def test_the_slowest_of_many(ranks: int, expected: float) -> None:
    """Tables of the expected maximum of normal numbers (Harter 1961)."""
    assert slowest(ranks) == pytest.approx(expected, abs=0.03)


def test_young_and_daly() -> None:
    assert young(50, 10_000) == 1_000
    assert daly(50, 10_000) == pytest.approx(1_000 * (1 + 0.05 / 3 + 0.0025 / 9) - 50)
    assert daly(50, 20) == 20


def test_without_failures_only_saving_costs() -> None:
    assert goodput(950, 50, 300, 1e12) == pytest.approx(0.95, rel=1e-6)
    assert goodput(1e9, 50, 300, 1) == 0.0


@given(save=st.floats(1, 100), mtbf=st.floats(1_000, 1e6))
def test_no_interval_beats_dalys_by_much(save: float, mtbf: float) -> None:
    best = goodput(daly(save, mtbf), save, 60, mtbf)
    others = (goodput(daly(save, mtbf) * f, save, 60, mtbf) for f in (0.25, 0.5, 0.8, 1.25, 2, 4))
    assert best >= max(others) * (1 - 2e-3)


def test_the_simulation_finds_the_formula() -> None:
    """1,024 devices that fail every 5,000 hours each: one failure in 4.9 hours."""
    cluster = dataclasses.replace(CLUSTER, devices=1_024, mtbf=5_000.0, save=60.0, restart=600.0)
    mtbf = 5_000 * 3_600 / 1_024
    interval = daly(60, mtbf)
    training = 400 * interval
    runs = [training / simulate(training, interval, cluster, seed) for seed in range(40)]
    assert statistics.mean(runs) == pytest.approx(goodput(interval, 60, 600, mtbf), rel=0.01)


def test_more_devices_lose_more_and_slower_links_too() -> None:
    found = []
    for devices in (8, 64, 512, 1_024):
        cluster = dataclasses.replace(CLUSTER, devices=devices)
        found.append(scaling(10.0, messages(7e9, 7e9, cluster, devices), cluster).efficiency)
    assert found == sorted(found, reverse=True)
    assert 0.9 < found[0] < 1
    ethernet = dataclasses.replace(CLUSTER, devices=64, between=LINKS["eth-25g"])
    assert scaling(10.0, messages(7e9, 7e9, ethernet, 64), ethernet).efficiency < 0.5


def test_no_devices() -> None:
    with pytest.raises(BadInput, match="--devices 0"):
        dataclasses.replace(CLUSTER, devices=0)
