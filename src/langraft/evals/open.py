"""A model folder opened for evaluation."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from langraft.checkpoint.bases import cache_folder
from langraft.checkpoint.folder import load_model, load_tokenizer, model_digest
from langraft.core.errors import BadInput
from langraft.core.io import sha256_json
from langraft.evals.suite import Reader
from langraft.evals.suites import Exam

MOST_WINDOW = 4096
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def open_reader(
    folder: Path, *, window: int | None = None, precision: str = "auto", share: bool = True
) -> Reader:
    """The model in `folder` with its tokenizer, on the GPU when there is one.

    Args:
        window: tokens it may read; without it the model's own limit, at most 4,096.
        precision: `fp32`, `bf16`, or `auto`: bf16 on a GPU, fp32 on the CPU.
        share: read common beginnings once.

    Raises:
        BadInput: an unknown precision, a window beyond the model's, or no model.
    """
    if precision not in ("auto", *DTYPES):
        raise BadInput(f"precision {precision!r}: take auto, {' or '.join(DTYPES)}")
    cuda = torch.cuda.is_available()
    chosen = ("bf16" if cuda else "fp32") if precision == "auto" else precision
    model = load_model(folder, DTYPES[chosen]).to("cuda" if cuda else "cpu")
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", MOST_WINDOW)
    if window is not None and window > limit:
        raise BadInput(f"window: {window} tokens, but {folder} reads at most {limit}")
    return Reader(
        model,
        load_tokenizer(folder),
        window or min(limit, MOST_WINDOW),
        model_digest(folder),
        share,
    )


def results_folder(reader: Reader, exam: Exam, protocol: str) -> Path:
    """Where the results of exactly this evaluation are kept when nobody asked for another place."""
    settings = [exam.digest(), exam.shots, exam.seed, exam.split, reader.window, reader.share]
    settings.append(str(reader.model.dtype))
    name = f"{exam.suite}-{protocol}-{reader.digest[:12]}-{sha256_json(settings)[:12]}"
    return cache_folder() / "evals" / re.sub(r"[^a-z0-9.-]", "-", name.lower())
