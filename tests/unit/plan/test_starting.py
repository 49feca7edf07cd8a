"""Operations of learning new rows, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from langraft.plan import plan_recipe
from langraft.plan.devices import find_device, find_link
from langraft.plan.scale import Cluster
from langraft.plan.shape import KNOWN, Shape
from langraft.plan.stages import Growth, Machine
from langraft.plan.starting import starting_flops
from langraft.recipe import Distil, Graft, load_recipe

BASE = Shape.of(KNOWN["smollm2-135m"], "smollm2-135m")
BLOCK = 576 * (2 * 576 + 2 * 192) + 3 * 576 * 1_536
GROWN = Growth(BASE, BASE.grown(50_176, untied=True), 1_000, False)
SETTINGS = Distil(
    positions=100,
    depth=3,
    steps=10,
    batch_tokens=20,
    output_positions=40,
    output_steps=5,
    output_batch=8,
    old_positions=0,
)


def test_both_matrices_learnt() -> None:
    tokens, flops = starting_flops(Graft(init="distil", distil=SETTINGS), GROWN)
    inputs = 2 * 3 * BLOCK * 100 * 2 + 4 * 3 * BLOCK * 200
    outputs = 2 * (30 * BLOCK + 49_152 * 576) * 40 + 6 * 1_000 * 576 * 40
    assert (tokens, flops) == (100 + 200 + 40, inputs + outputs)


def test_old_text_is_read_too() -> None:
    """A quarter as many positions a step, and its states once."""
    more = SETTINGS.model_copy(update={"old_positions": 7})
    before, after = (
        starting_flops(Graft(init="distil", distil=one), GROWN) for one in (SETTINGS, more)
    )
    once = 2 * (30 * BLOCK + 49_152 * 576) * 7
    assert (after[0] - before[0], after[1] - before[1]) == (7, once + 6 * 1_000 * 576 * 10)


@pytest.mark.parametrize(
    ("init", "tokens"),
    [("subtoken-mean", 0), ("mean/fit", 40), ("distil/mean", 300), ("auto", 340)],
)
def test_only_what_is_learnt_counts(init: str, tokens: int) -> None:
    read, flops = starting_flops(Graft(init=init, distil=SETTINGS), GROWN)
    assert read == tokens and (flops > 0) == (tokens > 0)


def test_nothing_without_new_rows() -> None:
    assert starting_flops(Graft(init="distil"), Growth(BASE, BASE, 0, False)) == (0, 0.0)
    assert starting_flops(None, GROWN) == (0, 0.0)


def test_the_quickstarts_graft_is_most_of_its_time() -> None:
    """217 s were measured on the two cores that the table's CPU stands for."""
    root = Path(__file__).parents[3]
    recipe = load_recipe(root / "recipes" / "quickstart-zh.yaml")
    recipe = recipe.model_copy(update={"base": "smollm2-135m"})
    links = find_link("nvlink4", "--inside"), find_link("ib-ndr", "--between")
    machine = Machine(find_device("cpu"), Cluster(1, 8, *links, 0, 1e9, 1, 0), None)
    found = plan_recipe(recipe, root / "recipes", machine)
    graft, stage = found["graft"]["hours"]["usual"], found["stages"][0]["hours"]["usual"]
    assert found["hours"]["usual"] == pytest.approx(graft + stage)
    assert graft > 1.5 * stage
    assert all(one["hours"]["usual"] > graft for one in found["by_devices"])
