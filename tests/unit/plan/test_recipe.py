"""Plans of recipes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from langraft.cli import app
from langraft.core.errors import BadInput
from langraft.core.hardware import Cpu
from langraft.plan import devices as table
from langraft.plan import plan_recipe
from langraft.plan.devices import LINKS, find_device, find_link
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


def test_memory_of_every_way_on_every_number_of_devices() -> None:
    """What is stored is divided by the devices that share it; recomputing keeps less."""
    found = plan_recipe(Recipe(**COLOSSAL), ROOT, machine(devices=6))
    grid = {(w["devices"], w["shards"], w["checkpointing"]): w for w in found["memory_grid"]}
    counts = [(1, 1), (2, 1), (2, 2), (4, 1), (4, 4), (6, 1), (6, 6)]
    assert list(grid) == [(*c, how) for c in counts for how in ("none", "selective", "full")]
    learning = found["stages"][0]["learning"]
    for (_, shards, _), way in grid.items():
        assert way["moments"] == 8 * learning / shards
        parts = ("weights", "gradients", "moments", "activations", "logits", "margin")
        assert way["total"] == pytest.approx(sum(way[part] for part in parts))
        assert way["fits"] == (way["total"] <= 80 * 2**30)
    for devices, shards in counts:
        totals = [grid[devices, shards, how]["total"] for how in ("none", "selective", "full")]
        assert totals == sorted(totals, reverse=True)
    assert not grid[1, 1, "full"]["fits"] and grid[4, 4, "full"]["fits"]


def test_goodput_of_8_to_1024_devices() -> None:
    found = plan_recipe(Recipe(**COLOSSAL), ROOT, machine())["goodput"]
    assert [point["devices"] for point in found] == [8, 16, 32, 64, 128, 256, 512, 1_024]
    shares = [point["goodput"] for point in found]
    assert shares == sorted(shares, reverse=True) and 0.9 < shares[-1] < shares[0] < 1
    last = found[-1]
    mtbf = 50_677 * 3_600 / 1_024
    assert last["checkpoint_seconds"] == pytest.approx((2 * 20 * mtbf) ** 0.5, rel=0.01)  # Young
    assert last["failures_a_day"] == pytest.approx(86_400 / mtbf)


def test_a_described_network() -> None:
    slow = find_link("10:50", "--between")
    assert (slow.bandwidth, slow.latency) == pytest.approx((1.25e9, 50e-6))


@pytest.mark.parametrize(
    ("vocabulary", "added"),
    [({"vocabulary": 55_296}, 23_296), ({"size": 23_295, "pad_token": "<pad>"}, 23_296)],
)
def test_a_vocabulary_counted_whole(vocabulary: dict[str, object], added: int) -> None:
    """Chinese-LLaMA-2's 55,296, said either way."""
    recipe = {**COLOSSAL, "tokenizer": {"method": "continued-bpe", **vocabulary}}
    found = plan_recipe(Recipe(**recipe), ROOT, machine())["parameters"]
    assert (found["added_rows"], found["rows"]) == (added, 55_296)


def test_this_machines_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without instructions for bfloat16 a plan counts in 32 bit."""
    found = {}
    for flags in ("avx2", "avx512f avx512_bf16"):
        known = Cpu(4, 16 << 30, frozenset(flags.split()))
        monkeypatch.setattr(table, "this_cpu", lambda known=known: known)
        one = Machine(find_device("cpu"), Cluster(1, 8, LINKS["pcie4"], LINKS["pcie4"]), None)
        assert one.device.memory == 16 << 30 and "4 cores" in one.device.title
        tree = yaml.safe_load((ROOT / "recipes/quickstart-zh.yaml").read_text(encoding="utf-8"))
        found[flags] = plan_recipe(Recipe(**tree), ROOT / "recipes", one)["stages"][0]
    plain, half = found.values()
    assert plain["memory"]["weights"] == 4 * plain["learning"]
    assert half["memory"]["weights"] > plain["memory"]["weights"]  # copies in bfloat16
    assert plain["hours"]["usual"] == pytest.approx(4 * half["hours"]["usual"])


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
    assert "<b>langraft</b> plan" in text
    assert text.count("<svg") == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--device", "h10"], "did you mean h100"),
        (["--set", "pretrain.0.tokens=0"], "pretrain.0.tokens: Input should be greater than 0"),
        (["--device", "24:"], "MEMORY_GB:PEAK_TFLOPS"),
        (["--price", "0"], "costs more than nothing"),
        (["--inside", "nvlink"], "there are nvlink3"),
        (["--between", "fast:5"], "GBIT_A_SECOND:MICROSECONDS"),
        (["--stragglers", "2"], "--stragglers 2"),
        (["--failures", "0"], "--failures 0"),
        (["--save", "0"], "hours and seconds are more than nothing"),
        (["--devices", "0"], "--devices 0"),
        (["--mean-document", "0"], "at least one token"),
    ],
)
def test_bad_options(options: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["plan", str(ROOT / "recipes/quickstart-zh.yaml"), *options])
    assert isinstance(done.exception, BadInput)
    assert message in str(done.exception)
