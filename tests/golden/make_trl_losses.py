"""Writes trl_losses.json: TRL's own losses and gradients on the pairs of tests/tiny_weights.py.

Run in an environment of its own that has trl: `python tests/golden/make_trl_losses.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import (
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from tiny_weights import PAIRS, VOCABULARY, fill, gradients, tiny_config  # noqa: E402

DPO = {"plain": {"beta": 0.1}, "steep": {"beta": 0.5}}
REWARD = {"plain": {}, "centred": {"center_rewards_coefficient": 0.05}}
MARGINS = [0.5, 0.0, 1.5]


def tokenizer() -> PreTrainedTokenizerFast:
    words = {f"w{n}": n for n in range(VOCABULARY)}
    engine = Tokenizer(models.WordLevel(words, unk_token="w31"))
    return PreTrainedTokenizerFast(
        tokenizer_object=engine, pad_token="w0", eos_token="w1", bos_token="w2"
    )


def padded(rows: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])


def dpo(folder: str, options: dict[str, Any]) -> dict[str, Any]:
    model = fill(LlamaForCausalLM(tiny_config()), 1)
    reference = fill(LlamaForCausalLM(tiny_config()), 2)
    data = Dataset.from_list([{"prompt": "w3", "chosen": "w9", "rejected": "w4"}] * 2)
    settings = trl.DPOConfig(
        output_dir=folder,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        **options,
    )
    trainer = trl.DPOTrainer(
        model, reference, settings, train_dataset=data, processing_class=tokenizer()
    )
    trainer.model.eval()
    rows = [(q, a) for q, a, _ in PAIRS] + [(q, b) for q, _, b in PAIRS]
    ids = padded([q + a for q, a in rows])
    mask = padded([[1] * len(q + a) for q, a in rows])
    answer = padded([[0] * len(q) + [1] * len(a) for q, a in rows])
    inputs = {"input_ids": ids, "attention_mask": mask, "completion_mask": answer}
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return {"loss": loss.item(), "gradients": gradients(trainer.model), "options": options}


def reward(folder: str, options: dict[str, Any], margins: bool) -> dict[str, Any]:
    config = tiny_config()
    config.num_labels = 1
    model = fill(LlamaForSequenceClassification(config), 3)
    data = Dataset.from_list([{"prompt": "w3", "chosen": "w9", "rejected": "w4"}] * 2)
    settings = trl.RewardConfig(
        output_dir=folder,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        **options,
    )
    trainer = trl.RewardTrainer(model, settings, train_dataset=data, processing_class=tokenizer())
    trainer.model.eval()
    rows = [q + a for q, a, _ in PAIRS] + [q + b for q, _, b in PAIRS]
    inputs = {"input_ids": padded(rows), "attention_mask": padded([[1] * len(r) for r in rows])}
    if margins:
        inputs["margin"] = torch.tensor(MARGINS)
    loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return {
        "loss": loss.item(),
        "gradients": gradients(trainer.model),
        "options": options,
        "margins": MARGINS if margins else [0.0] * len(PAIRS),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = {
            "versions": {"trl": trl.__version__, "torch": torch.__version__},
            "dpo": {name: dpo(folder, options) for name, options in DPO.items()},
            "reward": {
                "plain": reward(folder, REWARD["plain"], False),
                "centred": reward(folder, REWARD["centred"], True),
            },
        }
    text = json.dumps(found, separators=(",", ":")).replace("],", "],\n")
    (HERE / "trl_losses.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
