"""What this machine is, without importing torch; the training rooms ask torch themselves."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import os
import platform
import resource
import sys
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


def give_back_memory() -> None:
    """Give what is no longer held back to the system: the C library keeps freed blocks for itself
    (glibc's `malloc_trim`; elsewhere only what Python can free).
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # not in every C library
        if trim is not None:
            trim(0)


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
