"""`hardware:` where it runs."""

from __future__ import annotations

from typing import Literal

from langraft.recipe.section import Positive, Section


class Hardware(Section):
    """Where it runs. `auto` takes a GPU when there is one, and bf16 where the device computes in
    it.
    """

    devices: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    threads: Positive | None = None
    cluster: str | None = None
