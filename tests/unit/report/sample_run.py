"""A run folder as the pipeline leaves it, with plausible numbers, to write a report from."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

RECIPE = """\
name: quickstart-zh
seed: 17
base: smollm2-135m
language: {code: zh, scripts: [Han]}
corpus:
  sources:
    - {name: zh, paths: [data/quickstart/zh.jsonl.zst], language: zh, bucket: knowledge}
    - {name: en, paths: [data/quickstart/en.jsonl.zst], language: en, bucket: replay}
tokenizer: {method: continued-bpe, size: 1600, pad_to: 64}
graft: {init: distil}
pretrain:
  - {name: rows, train: new-rows, tokens: 20000}
  - {name: replay, train: full, tokens: 60000, mix: {zh: 0.75, en: 0.25}}
forgetting: {max_rise: 0.03}
eval: {bits: true}
"""
VERSIONS = {
    "python": "3.11.7",
    "langraft": "0.1.0",
    "torch": "2.13.0+cpu",
    "transformers": "5.23.0",
}
DEVICE = "AMD EPYC 7B13, 2 cores"
BASE = {"zh": 1.9412, "en": 1.1873}
GRAFTED = {"zh": 2.2716, "en": 1.1891}
ADAPTED = {"zh": 1.8304, "en": 1.2031}
TWIN = {"zh": 1.7902, "en": 1.2214}
PROOFS = [
    {
        "name": "old text is encoded as before",
        "passed": True,
        "checked": 10000,
        "counterexample": None,
    },
    {
        "name": "every new piece can be produced",
        "passed": True,
        "checked": 1600,
        "counterexample": None,
    },
    {
        "name": "text round-trips",
        "passed": False,
        "checked": 4211,
        "counterexample": "a<b>\u3000<script>boo()</script>",
    },
]
SAMPLES = [
    {
        "prompt": "做红烧肉的第一步是",
        "base": "做红烧肉的第一步是做红烧肉的第一步是做红烧肉的第一步是",
        "adapted": "将五花肉切成小块，冷水下锅，加入姜片和料酒，煮开后撇去浮沫，捞出沥干备用。",
    },
    {
        "prompt": "The mitochondria of a cell",
        "base": " are the powerhouses of the cell. They are responsible for producing energy.",
        "adapted": " are the organelles that produce the energy of the cell in the form of ATP.",
    },
]


def _target(name: str, value: float, limit: str) -> dict[str, Any]:
    return {"name": name, "value": value, "limit": limit, "met": True}


RESULTS: dict[str, dict[str, Any]] = {
    "corpus": {
        "sources": {
            "zh": {
                "language": "zh", "bucket": "knowledge", "read": 4218, "malformed": 3,
                "dropped": {"too-short": 211, "repeated-lines": 96, "symbol-ratio": 41},
                "duplicates": 187, "train_documents": 3492, "train_bytes": 4_318_220,
                "holdout_documents": 188, "holdout_bytes": 200_431,
            },
            "en": {
                "language": "en", "bucket": "replay", "read": 1904, "malformed": 0,
                "dropped": {"too-short": 72},
                "duplicates": 12, "train_documents": 1695, "train_bytes": 2_021_887,
                "holdout_documents": 125, "holdout_bytes": 201_102,
            },
        }
    },
    "tokenizer": {
        "base_pieces": 49152, "added_pieces": 1600, "rows": 50752, "family": "byte-level BPE",
        "tokens_per_character": {
            "zh": {"base": 1.4893, "extended": 0.7212}, "en": {"base": 0.2231, "extended": 0.2231},
        },
        "proofs": PROOFS,
    },
    "graft": {
        "method": "distil", "untied": True, "bits": {"base": BASE, "grafted": GRAFTED},
        "seconds_distil": 96.2, "seconds_regression": 31.7,
    },
    "pretrain-rows": {
        "train": "new-rows", "tokens": 20480, "steps": 20, "tokens_per_second": 341.2,
        "loss_first": 6.0132, "loss_last": 5.4121, "mix": {"zh": 1.0},
        "bits": {"zh": 2.1312, "en": 1.1893},
    },
    "pretrain-replay": {
        "train": "full", "tokens": 61440, "steps": 60, "tokens_per_second": 268.9,
        "loss_first": 5.0313, "loss_last": 4.2711, "mix": {"zh": 0.7501, "en": 0.2499},
        "bits": ADAPTED,
    },
    "eval": {
        "bits": {"base": BASE, "grafted": GRAFTED, "adapted": ADAPTED, "twin": TWIN},
        "languages": {"zh": "zh", "en": "en"},
        "tokens_per_character": {
            "zh": {"base": 1.4893, "adapted": 0.7212}, "en": {"base": 0.2231, "adapted": 0.2231},
        },
        "samples": SAMPLES,
        "targets": [
            _target("tokens per Chinese character, times fewer", 2.065, "at least 1.8"),
            _target("Chinese bits per byte", -0.0571, "at most -0.05"),
            _target("English bits per byte", 0.0133, "at most +0.03"),
        ],
        "model": "runs/quickstart-zh/pretrain-replay/model",
    },
}  # fmt: skip
SECONDS = {
    "corpus": 9.4,
    "tokenizer": 6.1,
    "graft": 131.0,
    "pretrain-rows": 62.3,
    "pretrain-replay": 228.5,
    "eval": 44.0,
}


def build_run(folder: Path, results: dict[str, dict[str, Any]] | None = None) -> Path:
    """Write `recipe.yaml`, a manifest a stage, and `metrics.jsonl` into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    for stage, found in (RESULTS if results is None else results).items():
        manifest = {
            "stage": stage,
            "settings": {},
            "inputs": {"recipe": "ab" * 32},
            "outputs": {"model.safetensors": "cd" * 32},
            "versions": VERSIONS,
            "device": DEVICE,
            "seconds": SECONDS[stage],
            "results": found,
        }
        (folder / stage).mkdir()
        (folder / stage / "manifest.json").write_text(
            json.dumps(manifest, ensure_ascii=False), encoding="utf-8"
        )
    lines = [json.dumps(record) for record in metrics()]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def metrics() -> list[dict[str, Any]]:
    """Records of the grafting and of both pretraining stages; one loss is not a number, as a
    diverged step logs it.
    """
    graft = [
        {
            "stage": "graft, input rows",
            "step": s,
            "loss": 4 * math.exp(-s / 40) + 0.3 * _wobble(s) + 1,
        }
        for s in range(100)
    ]
    rows = [
        {"stage": "graft, output rows", "step": s, "loss": 7 - 2 * (1 - math.exp(-s / 30))}
        for s in range(120)
    ]
    found: list[dict[str, Any]] = [*graft, *rows]
    for stage, steps, first, last in (
        ("pretrain-rows", 20, 6.01, 5.4),
        ("pretrain-replay", 60, 5.03, 4.27),
    ):
        for step in range(1, steps + 1):
            loss = last + (first - last) * math.exp(-3 * step / steps) + 0.15 * _wobble(step)
            record = {"stage": stage, "step": step, "tokens": 1024 * step, "loss": loss, "lr": 1e-4}
            found.append(record | {"grad_norm": 1.0, "tokens_per_second": 270.0})
    found[-7]["loss"] = math.nan
    for stage, step, bits in (
        ("pretrain-rows", 20, {"zh": 2.1312, "en": 1.1893}),
        ("pretrain-replay", 20, {"zh": 1.9523, "en": 1.2203}),
        ("pretrain-replay", 40, {"zh": 1.8711, "en": 1.2101}),
        ("pretrain-replay", 60, ADAPTED),
    ):
        found.append({"stage": stage, "step": step, "tokens": 1024 * step, "bits": bits})
    return found


def _wobble(step: int) -> float:
    return math.sin(step * 12.9898) * math.cos(step * 4.1414)
