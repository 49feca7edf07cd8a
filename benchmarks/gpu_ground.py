"""What the GPU benchmarks run on: the device, models of known shapes, documents of real lengths,
and the clock. With `smoke` everything is tiny and on the CPU.
"""

from __future__ import annotations

import dataclasses
import gc
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from langraft.core.compute import peak_flops
from langraft.data.pack import Batch, assemble
from langraft.train.precision import Device
from langraft.train.ranks import Ranks

VOCABULARY = 69_120


@dataclasses.dataclass(frozen=True)
class Size:
    """A Llama shape."""

    hidden: int
    middle: int
    layers: int
    heads: int
    key_heads: int


SIZES = {
    "1.1B": Size(2_048, 5_632, 22, 32, 4),  # TinyLlama
    "7B": Size(4_096, 11_008, 32, 32, 32),  # LLaMA-2
    "tiny": Size(64, 128, 2, 4, 2),
}


class Bench:
    """What all cases share."""

    def __init__(self, smoke: bool, ranks: Ranks) -> None:
        self.smoke, self.ranks = smoke, ranks
        self.device = Device("cpu" if smoke else "cuda", bf16=not smoke, cast=ranks.mesh is None)
        self.row = 64 if smoke else 4_096
        name = "CPU" if smoke else torch.cuda.get_device_name()
        self.name, self.peak = name, peak_flops(name, 1)

    def model(self, size: str) -> LlamaForCausalLM:
        """A random model; 7B is 27 GB of host memory for a moment."""
        shape = SIZES["tiny" if self.smoke else size]
        config = LlamaConfig(
            vocab_size=512 if self.smoke else VOCABULARY,
            hidden_size=shape.hidden,
            intermediate_size=shape.middle,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.key_heads,
            max_position_embeddings=4_096,
            tie_word_embeddings=False,
        )
        torch.manual_seed(0)
        with torch.device("cpu" if self.smoke else "cuda"):  # random numbers are quick there
            model = LlamaForCausalLM(config)
        return model if self.smoke else model.to("cpu")

    def lengths(self, seed: int, total: int) -> list[int]:
        """Document lengths as web text has them: log-normal, median 400 tokens, cut at the row."""
        generator, found = np.random.default_rng(seed), []
        median = 20 if self.smoke else 400
        while sum(found) < total:
            found.append(int(np.clip(generator.lognormal(np.log(median), 1.1), 4, self.row)))
        found[-1] -= sum(found) - total
        return [n for n in found if n > 0]

    def packed(self, rows: int, seed: int) -> Batch:
        """`rows` full rows; pieces end where documents or rows end."""
        generator = np.random.default_rng(seed)
        vocabulary = 512 if self.smoke else VOCABULARY
        laid = []
        for row in range(rows):
            lengths = self.lengths(seed * 1_000 + row, self.row)
            laid.append([generator.integers(0, vocabulary, n) for n in lengths])
        return assemble(laid)

    def sync(self) -> None:
        """Wait for the device."""
        if not self.smoke:
            torch.cuda.synchronize()

    def clean(self) -> None:
        """Give memory back between cases."""
        gc.collect()
        if not self.smoke:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def timed(self, step: Callable[[int], object], steps: int, warm: int = 3) -> float:
        """Seconds of a step, the median, the first `warm` (compiling) left out."""
        times = []
        for number in range(warm + steps):
            self.sync()
            begun = time.perf_counter()
            step(number)
            self.sync()
            times.append(time.perf_counter() - begun)
        return float(np.median(times[warm:]))
