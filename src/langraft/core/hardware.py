"""What this machine is, without importing torch; the training rooms ask torch themselves."""

from __future__ import annotations

import os
import platform
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
