"""The five answers that a recipe is made from, read from what somebody types."""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from pathlib import Path

from langraft.core.errors import BadInput
from langraft.plan.devices import CPU, DEVICES, LINKS, Device, find_device
from langraft.plan.recipe import base_shape
from langraft.plan.scale import Cluster
from langraft.plan.shape import Shape
from langraft.plan.stages import Machine
from langraft.setup.languages import Tongue
from langraft.setup.survey import Survey, survey

GOALS = {
    "try": "see the whole way in minutes",
    "read": "continue pretraining on all the text",
    "chat": "the same, then instructions from the conversations in the data folder",
}
DEFAULT_BASE = "smollm2-135m"


@dataclasses.dataclass(frozen=True)
class Base:
    """A base: what a recipe calls it, its sizes, and its folder or file where it is at hand."""

    name: str
    shape: Shape
    place: Path | None


@dataclasses.dataclass(frozen=True)
class Hardware:
    """A device of the plan's table, by its name there, and how many."""

    name: str
    device: Device
    devices: int

    @property
    def machine(self) -> Machine:
        """As a plan takes it, eight devices a node."""
        return Machine(
            self.device, Cluster(self.devices, 8, LINKS["nvlink4"], LINKS["ib-ndr"]), None
        )


@dataclasses.dataclass(frozen=True)
class Answers:
    """What `langraft init` asks."""

    tongue: Tongue
    base: Base
    data: Survey
    hardware: Hardware
    goal: str


def find_base(given: str, root: Path) -> Base:
    """The base that somebody named: a folder (from where they stand), a known name, a hub id.

    Args:
        root: the folder that the recipe will lie in.

    Raises:
        BadInput: its sizes are not known.
    """
    folder = Path(given).expanduser()
    if folder.is_dir():
        whole = folder.resolve()
        return Base(str(whole), base_shape(str(whole), root), whole)
    found = base_shape(given, root)
    return Base(given, found, _packaged(given))


def _packaged(name: str) -> Path | None:
    """The file of a base that an installed package carries, or the folder that a run made of it,
    which is read faster.
    """
    from langraft.checkpoint.bases import BASES, cache_folder  # imports torch, which takes seconds

    known = BASES.get(name)
    package = importlib.util.find_spec(known.package) if known else None
    if known is None or package is None or package.origin is None:
        return None
    file = Path(package.origin).parent / known.file
    made = sorted((cache_folder() / "bases").glob(f"{file.stem}-*/tokenizer.json"))
    return made[0].parent if made else file


def find_hardware(given: str) -> Hardware:
    """`cpu`, `rtx4090`, `8 x h100`, `24:165`, `4 x 24:165`.

    Raises:
        BadInput: no such device, or none of them.
    """
    typed = given.strip().lower()
    counted = re.fullmatch(r"(\d+)\s*[x*]\s*(.+)", typed)
    devices, name = (int(counted[1]), counted[2]) if counted else (1, typed)
    if devices < 1:
        raise BadInput(f"hardware {given!r}: at least one device")
    if name == CPU and devices > 1:
        raise BadInput(f"hardware {given!r}: cpu is this machine with all its cores; write cpu")
    try:
        return Hardware(name, find_device(name), devices)
    except BadInput as error:
        why = str(error).removeprefix("--device ")
        raise BadInput(f"hardware {why.replace('--device ', '')}; several: 8 x h100") from None


def find_goal(given: str) -> str:
    """One of `GOALS`.

    Raises:
        BadInput: it is none.
    """
    goal = given.strip().lower()
    if goal not in GOALS:
        known = "; ".join(f"{name}: {meaning}" for name, meaning in GOALS.items())
        raise BadInput(f"goal {given!r}: there are {known}")
    return goal


def find_data(given: str, tongue: Tongue) -> Survey:
    """What lies in the folder (or file) `given`.

    Raises:
        BadInput: see `survey`.
    """
    return survey(Path(given).expanduser(), tongue)


def known_devices() -> str:
    """The names for a question."""
    return ", ".join([CPU, *DEVICES])
