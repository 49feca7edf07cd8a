"""What this machine is, without importing torch; the training rooms ask torch themselves."""

from __future__ import annotations

import dataclasses
import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "safetensors")


@dataclasses.dataclass(frozen=True)
class Cpu:
    """The processor: cores that this process may use, bytes of memory, instruction sets."""

    cores: int
    memory: int
    flags: frozenset[str]


def this_cpu() -> Cpu:
    """The machine's own; on other systems than Linux without flags."""
    flags: frozenset[str] = frozenset()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        found = next((line for line in lines if line.startswith(("flags", "Features"))), ":")
        flags = frozenset(found.split(":", 1)[1].split())
    return Cpu(_cores(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), flags)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name as the system reports it, with its core count."""
    cores = _cores()
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
