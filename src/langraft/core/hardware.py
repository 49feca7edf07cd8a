"""What this machine is, without importing torch; the training rooms ask torch themselves."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "safetensors")


def processor() -> str:
    """The processor's name as the system reports it, with its core count."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [
            line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0].split(":", 1)[1].strip() if models else name
    return f"{name}, {cores} cores"


def versions() -> dict[str, str]:
    """Versions of Python, langraft and the packages that decide results."""
    found = {"python": platform.python_version(), "langraft": metadata.version("langraft")}
    return found | {name: metadata.version(name) for name in PACKAGES}


def forget_peak_memory() -> None:
    """Let `peak_memory` begin anew, where the system can (Linux)."""
    with contextlib.suppress(OSError):  # no such file, or a container that forbids it
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most bytes that this process held in memory since `forget_peak_memory`."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text(encoding="utf-8").splitlines()
        found = next((line for line in lines if line.startswith("VmHWM")), "")
        if found:
            return int(found.split()[1]) * 1024
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
