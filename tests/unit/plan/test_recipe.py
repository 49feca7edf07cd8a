"""Plans of recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langraft.cli import app
from langraft.core.errors import BadInput
from langraft.plan import plan_recipe
from langraft.plan.devices import LINKS, find_device
from langraft.plan.scale import Cluster
from langraft.plan.stages import Machine
from langraft.recipe import Recipe

ROOT = Path(__file__).parents[3]
COLOSSAL = {
    "name": "colossal",
    "base": "meta-llama/Llama-2-7b-hf",
    "language": {"code": "zh", "scripts": ["Han"]},
    "tokenizer": {"method": "union", "size": 37_104},
    "graft": {"init": "subtoken-mean"},
    "pretrain": [
        {"name": "all", "preset": "colossal-injection", "tokens": 8_500_000_000, "micro_rows": 1}
    ],
}


def machine(device: str = "a800-80g", devices: int = 64, price: float | None = None) -> Machine:
    return Machine(
        find_device(device), Cluster(devices, 8, LINKS["nvlink-a800"], LINKS["ib-hdr"]), price
    )


def test_colossals_run() -> None:
    """Published: 15 hours, under $1,000; one card of 80 GB must hold its part."""
    found = plan_recipe(Recipe(**COLOSSAL), ROOT, machine(price=1.0), mean_document=4_096)
    assert found["parameters"]["rows"] == 69_120  # 69,104 padded to a multiple of 64
    assert found["hours"]["usual"] == pytest.approx(15, rel=0.25)
    assert found["money"]["usual"] == pytest.approx(64 * found["hours"]["usual"])
    (stage,) = found["stages"]
    assert stage["fits"]
    assert stage["sightings_per_new_row"] == pytest.approx(8.5e9 / 37_104)
    hours = [point["hours"]["usual"] for point in found["by_devices"]]
    assert hours == sorted(hours, reverse=True)


def test_what_does_not_fit_gets_the_nearest_that_does() -> None:
    large = {**COLOSSAL, "pretrain": [{**COLOSSAL["pretrain"][0], "micro_rows": 4}]}
    (stage,) = plan_recipe(Recipe(**large), ROOT, machine())["stages"]
    assert not stage["fits"]
    assert stage["nearest"]["fits"]
    assert "4,096 tokens" in stage["nearest"]["setting"]


def test_one_small_card_needs_more_of_its_kind() -> None:
    (stage,) = plan_recipe(Recipe(**COLOSSAL), ROOT, machine("rtx4090", 1))["stages"]
    assert stage["nearest"] is None
    assert stage["fewest_devices"] == 8


def test_too_many_devices_for_a_batch() -> None:
    with pytest.raises(BadInput, match=r"all: 512 rows a batch .* shared by 1000 devices"):
        plan_recipe(Recipe(**COLOSSAL), ROOT, machine(devices=1_000))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"base": None}, "names no base"),
        ({"base": "owner/unknown"}, "not in the plan's table"),
        ({"pretrain": []}, "no training stage to plan"),
    ],
)
def test_recipes_without_what_a_plan_needs(changed: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        plan_recipe(Recipe(**{**COLOSSAL, **changed}), ROOT, machine())


def test_the_verb(tmp_path: Path) -> None:
    quickstart, page = ROOT / "recipes" / "quickstart-zh.yaml", tmp_path / "plan.html"
    arguments = ["plan", str(quickstart), "--device", "24:71", "--price", "0.5", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--page", str(page)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["stages"][0]["fits"]
    assert found["money"]["usual"] == pytest.approx(0.5 * found["hours"]["usual"])
    text = page.read_text()
    assert "Plan of quickstart-zh" in text
    assert text.count("<svg") == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "h10"], "did you mean h100"),
        (["--device", "24:"], "MEMORY_GB:PEAK_TFLOPS"),
        (["--price", "0"], "costs more than nothing"),
        (["--inside", "nvlink"], "there are nvlink3"),
        (["--devices", "0"], "--devices 0"),
        (["--mean-document", "0"], "at least one token"),
    ],
)
def test_bad_options(options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["plan", str(ROOT / "recipes/quickstart-zh.yaml"), *options])
    assert isinstance(done.exception, BadInput)
    assert message in str(done.exception)
