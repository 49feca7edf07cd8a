"""What devices and the networks between them can do, from their makers' data sheets."""

from __future__ import annotations

import dataclasses
import difflib

from langraft.core.compute import PEAK
from langraft.core.errors import BadInput
from langraft.core.hardware import Cpu, this_cpu


@dataclasses.dataclass(frozen=True)
class Device:
    """One accelerator.

    Attributes:
        title: its name for people.
        memory: bytes that it has.
        peak: dense products in 16 bit with sums in 32, FLOP/s.
        shares: how much of the peak continued pretraining reaches: poor, usual, good.
        context: bytes that the driver and the libraries take before the first tensor.
        source: where memory and peak are stated.
        bf16: whether it has instructions for products in bfloat16; without, `precision: auto`
            computes in 32 bit.
    """

    title: str
    memory: float
    peak: float
    shares: tuple[float, float, float]
    context: float
    source: str
    bf16: bool = True


# What is reached: Ziya's card 0.38 and Colossal-LLaMA-2's 0.37 on A100 and A800, TinyLlama 0.52;
# torchtitan 0.34 to 0.39 on H100 (8B, 8K), its sheets' users up to 0.50; RTX cards are held back by
# their memory's bandwidth and PCIe. V100 has no bfloat16 and no FlashAttention-2: fp16 only.
_AMPERE, _HOPPER, _CARD, _VOLTA = (
    (0.30, 0.38, 0.50),
    (0.30, 0.38, 0.50),
    (0.25, 0.35, 0.45),
    (0.20, 0.30, 0.40),
)
_V100, _A100, _A800, _H100, _H200, _L40S, _4090, _3090 = (
    PEAK[name] for name in ("V100", "A100", "A800", "H100", "H200", "L40S", "RTX 4090", "RTX 3090")
)
GB, GIB = 1e9, 2.0**30
# Of a processor: the libraries, and what the C library keeps of freed blocks and products pack,
# measured beside tensors (docs/numbers.md, the plan's memory).
LIBRARIES, HOST_KEPT = 0.5 * GB, 0.33 * GB
DEVICES = {
    "v100-16g": Device("V100 16 GB", 16 * GIB, _V100, _VOLTA, 0.5 * GB, "V100 data sheet, SXM2"),
    "v100-32g": Device("V100 32 GB", 32 * GIB, _V100, _VOLTA, 0.5 * GB, "V100 data sheet, SXM2"),
    "a100-40g": Device("A100 40 GB", 40 * GIB, _A100, _AMPERE, 0.6 * GB, "A100 data sheet, SXM4"),
    "a100-80g": Device("A100 80 GB", 80 * GIB, _A100, _AMPERE, 0.6 * GB, "A100 data sheet, SXM4"),
    "a800-40g": Device("A800 40 GB", 40 * GIB, _A800, _AMPERE, 0.6 * GB, "A800 data sheet, PCIe"),
    "a800-80g": Device("A800 80 GB", 80 * GIB, _A800, _AMPERE, 0.6 * GB, "A800 data sheet"),
    "h100": Device("H100 80 GB", 80 * GIB, _H100, _HOPPER, 0.7 * GB, "H100 data sheet, SXM5"),
    "h200": Device("H200 141 GB", 141 * GB, _H200, _HOPPER, 0.7 * GB, "H200 data sheet, SXM"),
    "l40s": Device("L40S 48 GB", 48 * GIB, _L40S, _CARD, 0.5 * GB, "L40S data sheet"),
    "rtx4090": Device("RTX 4090", 24 * GIB, _4090, _CARD, 0.5 * GB, "Ada whitepaper, app. A"),
    "rtx3090": Device("RTX 3090", 24 * GIB, _3090, _CARD, 0.5 * GB, "GA102 whitepaper, app. A"),
}
CPU = "cpu"  # the machine that plans
# FLOP that a core does in a cycle on its widest units, sums in 32 bit: Intel's and AMD's software
# optimisation guides. Two fused multiply-adds of 256 or 512 bits; twice that for pairs of bfloat16;
# AMX multiplies tiles of 16 x 32 and 32 x 16 numbers in 16 cycles.
_PER_CYCLE = {"amx_bf16": 2_048, "avx512_bf16": 128, "avx512f": 64, "avx2": 32, "": 8}
_CLOCK = 2.5e9  # Hz that server cores keep under such load, by the same guides
_CORES = (0.10, 0.20, 0.35)  # the quickstart's 150 to 166 tokens/s on two cores are about 0.2


@dataclasses.dataclass(frozen=True)
class Link:
    """A network between devices.

    Attributes:
        bandwidth: bytes/s that one device sends while it receives as many.
        latency: seconds a message takes before its first byte.
    """

    title: str
    bandwidth: float
    latency: float


# One direction, as the sheets give it; what collectives reach is in `scale.REACHED`.
LINKS = {
    "nvlink3": Link("NVLink 3 (A100), 300 GB/s", 300e9, 3e-6),
    "nvlink-a800": Link("NVLink (A800), 200 GB/s", 200e9, 3e-6),
    "nvlink4": Link("NVLink 4 (H100, H200), 450 GB/s", 450e9, 3e-6),
    "pcie4": Link("PCIe 4.0 x16, 32 GB/s", 32e9, 5e-6),
    "ib-hdr": Link("InfiniBand HDR, 200 Gbit/s", 25e9, 5e-6),
    "ib-ndr": Link("InfiniBand NDR, 400 Gbit/s", 50e9, 5e-6),
    "eth-100g": Link("Ethernet, 100 Gbit/s", 12.5e9, 20e-6),
    "eth-25g": Link("Ethernet, 25 Gbit/s", 3.125e9, 30e-6),
}


def find_device(name: str) -> Device:
    """The device called `name`.

    Raises:
        BadInput: the table lacks it; the message says how to describe one.
    """
    if ":" in name:
        return described(name)
    if name == CPU:
        return cpu(this_cpu())
    if name not in DEVICES:
        more = "or describe it: --device MEMORY_GB:PEAK_TFLOPS, for example 24:165"
        raise BadInput(f"--device {_unknown(name, [*DEVICES, CPU])}; {more}")
    return DEVICES[name]


def cpu(machine: Cpu) -> Device:
    """The cores and memory of a machine as a device."""
    best = next(flag for flag in _PER_CYCLE if not flag or flag in machine.flags)
    peak = machine.cores * _CLOCK * _PER_CYCLE[best]
    source = (
        f"the machine itself: {best or 'no vector instructions known'}, at {_CLOCK / 1e9:g} GHz"
    )
    title = f"CPU, {machine.cores} cores"
    return Device(
        title,
        machine.memory,
        peak,
        _CORES,
        LIBRARIES + HOST_KEPT,
        source,
        bf16="bf16" in best,
    )


def find_link(name: str, option: str) -> Link:
    """The network called `name`, or described as `GBIT_A_SECOND:MICROSECONDS`.

    Raises:
        BadInput: the table lacks it; the message says how to describe one.
    """
    if name in LINKS:
        return LINKS[name]
    if ":" not in name:
        more = "or describe it as GBIT_A_SECOND:MICROSECONDS, for example 200:5"
        raise BadInput(f"{option} {_unknown(name, list(LINKS))}; {more}")
    try:
        bits, delay = (float(part) for part in name.split(":"))
    except ValueError:
        bits = delay = -1.0
    if not (0 < bits < 1e6 and 0 <= delay < 1e6):
        raise BadInput(f"{option} {name!r}: write GBIT_A_SECOND:MICROSECONDS, for example 200:5")
    return Link(f"{bits:g} Gbit/s, {delay:g} us", bits * 1e9 / 8, delay * 1e-6)


def described(text: str) -> Device:
    """A device that the table lacks, as `MEMORY_GB:PEAK_TFLOPS`.

    Raises:
        BadInput: that is not two positive numbers.
    """
    try:
        memory, peak = (float(part) for part in text.split(":"))
    except ValueError:
        memory = peak = 0.0
    if not (0 < memory < 1e6 and 0 < peak < 1e6):
        raise BadInput(f"--device {text!r}: write MEMORY_GB:PEAK_TFLOPS, for example 24:165")
    title = f"{memory:g} GB, {peak:g} TFLOP/s"
    return Device(title, memory * GB, peak * 1e12, _CARD, 0.5 * GB, "as described")


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{name!r}: {hint}there are {', '.join(known)}"
