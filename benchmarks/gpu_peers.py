"""What `gpu.py` compares with: padded batches, HF Trainer, attention one document at a time."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from typing import Any

import numpy as np
import torch
from gpu_ground import Bench
from transformers import Trainer, TrainerCallback, TrainingArguments

from langraft.data.pack import assemble
from langraft.train import attention
from langraft.train.loss import linear_cross_entropy
from langraft.train.objectives import next_token_loss
from langraft.train.ranks import leave_ranks


def padded_case(bench: Bench, steps: int) -> dict[str, Any]:
    """Real documents packed against padded to the longest of their batch, HF's own way."""
    model = bench.model("1.1B").to(bench.device.name)
    model.train()
    count = 16
    lengths = bench.lengths(7, count * (20 if bench.smoke else 600))[:count]
    vocabulary = model.config.vocab_size
    generator = np.random.default_rng(3)
    documents = [generator.integers(0, vocabulary, n) for n in lengths]
    longest = max(lengths)
    ids = torch.zeros(len(documents), longest, dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for row, document in enumerate(documents):
        ids[row, : len(document)] = torch.as_tensor(document)
        mask[row, : len(document)] = 1
    ids, mask = ids.to(bench.device.name), mask.to(bench.device.name)
    device = dataclasses.replace(bench.device, cast=True)

    def padded(_: int) -> None:
        with device.autocast():
            for part in range(0, len(documents), 4):
                rows = slice(part, part + 4)
                hidden = model.base_model(ids[rows], attention_mask=mask[rows], use_cache=False)
                hidden = hidden.last_hidden_state[:, :-1].flatten(0, 1)
                labels = torch.where(mask[rows] == 1, ids[rows], -100)[:, 1:].flatten()
                hidden = hidden.to(torch.bfloat16) if device.bf16 else hidden
                linear_cross_entropy(hidden, model.lm_head.weight, labels)[0].backward()
        model.zero_grad()

    slow = bench.timed(padded, steps)
    model.set_attn_implementation(attention.register())
    quarters = [assemble([documents[a::4]]) for a in range(4)]

    def packed(_: int) -> None:
        for batch in quarters:
            next_token_loss(model, batch, device).backward()
        model.zero_grad()

    quick = bench.timed(packed, steps)
    return {
        "padded_seconds": round(slow, 4),
        "packed_seconds": round(quick, 4),
        "times_faster": round(slow / quick, 2),
        "padding_share": round(1 - sum(lengths) / (longest * count), 3),
    }


def trainer_case(bench: Bench, steps: int) -> dict[str, Any]:
    """HF Trainer on full rows without padding, the 1.1B shape, bf16 autocast, fused AdamW; the last
    case, for it must not find our process group and wrap the model.
    """
    leave_ranks(bench.ranks)
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        os.environ.pop(name, None)
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            bench.sync()
            times.append(time.perf_counter())

    model = bench.model("1.1B")
    rows, vocabulary = 8, model.config.vocab_size
    ids = torch.randint(vocabulary, (rows * (steps + 4), bench.row))
    data = [{"input_ids": row, "labels": row} for row in ids]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=steps + 3,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            learning_rate=1e-5,
            bf16=not bench.smoke,
            optim="adamw_torch_fused",
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_steps=1_000,
            use_cpu=bench.smoke,
            gradient_checkpointing=False,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=data,
            callbacks=[Clock()],  # type: ignore[arg-type]
        )
        trainer.train()
    seconds = float(np.median(np.diff(times)[2:]))
    return {
        "tokens_per_second": round(rows * bench.row / seconds),
        "seconds_a_step": round(seconds, 4),
    }


def attention_check(bench: Bench) -> dict[str, Any]:
    """Packed attention on this device against one document at a time, and the functions it has."""
    torch.manual_seed(1)
    lengths = [5, 64, 1, 130]
    total = sum(lengths)
    dtype = torch.float32 if bench.smoke else torch.bfloat16
    query, key, value = (
        torch.randn(1, heads, total, 64, dtype=dtype, device=bench.device.name)
        for heads in (8, 2, 2)
    )
    edges = torch.tensor(np.cumsum([0, *lengths]), dtype=torch.int32, device=bench.device.name)
    found, _ = attention.packed_attention(
        torch.nn.Identity(),
        query,
        key,
        value,
        None,
        scaling=0.125,
        cu_seq_lens_q=edges,
        max_length_q=256,
    )
    wanted = attention._document_by_document(query, key, value, edges, 0.125)
    return {
        "largest_difference": float((found - wanted).abs().max()),
        "varlen_arguments": sorted(attention._varlen_knows()),
    }
