"""What the plan says of the machine that a run is on, kept beside the run for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langraft.core.errors import BadInput
from langraft.core.io import read_json, write_json
from langraft.core.messages import say

if TYPE_CHECKING:
    from langraft.pipeline import Run


def keep_plan(this: Run, devices: int | None = None) -> None:
    """Write `plan.json` into the run's folder; one line says so where no plan can be made.

    Args:
        devices: how many train; default: as many as an earlier plan in the folder says, or one.
    """
    from langraft.plan import plan_recipe
    from langraft.plan.devices import find_device, find_link
    from langraft.plan.scale import Cluster
    from langraft.plan.stages import Machine
    from langraft.report.run import PLAN

    place = this.out / PLAN
    if devices is None:
        devices = int(read_json(place)["devices"]) if place.exists() else 1
    try:
        device = find_device(_device(this))
        links = find_link("nvlink4", "--inside"), find_link("ib-ndr", "--between")
        machine = Machine(device, Cluster(devices, 8, *links))
        write_json(place, plan_recipe(this.recipe, this.root, machine))
    except BadInput as error:
        say(f"[dim]no plan to compare with: {error}[/dim]")


def _device(this: Run) -> str:
    """The run's device as `langraft plan --device` takes it."""
    from langraft.core.compute import peak_flops

    if this.device.name != "cuda":
        return "cpu"
    import torch

    found = torch.cuda.get_device_properties(0)
    peak = peak_flops(found.name, 1)
    if peak is None:
        raise BadInput(f"the speed of a {found.name} is not in the table")
    return f"{found.total_memory / 1e9:.4g}:{peak / 1e12:.4g}"
