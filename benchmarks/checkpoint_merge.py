"""Merging a LoRA adapter: time against a plain copy of the files, peak memory against peft's merge.

    python benchmarks/checkpoint_merge.py [--shape 1b|7b|tiny] [--rank 64] [--stamped]
        [--only copy,langraft,peft] [--folder DIR] [--json FILE]

A random bfloat16 folder of the named shape and a random adapter on all seven linear layers are made
below --folder (a temporary folder if none is given) and deleted again. Each contestant runs in a
process of its own; seconds are those of the work, without importing torch, and end when the result
is on the disk (fsync); peak memory is the process's largest resident set, imports included.
`--stamped` records the base's digest in the adapter, so that the merge verifies it on the way.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from langraft.checkpoint.adapter import stamp_adapter
from langraft.checkpoint.digest import weights_digest
from langraft.checkpoint.reading import open_checkpoint
from langraft.checkpoint.stream import StoredTensor
from langraft.checkpoint.writing import write_checkpoint, write_weights

# hidden, intermediate, layers, heads, key heads, rows
SHAPES = {
    "tiny": (256, 704, 4, 8, 2, 4_000),
    "1b": (2_048, 5_632, 22, 32, 4, 32_000),
    "7b": (4_096, 11_008, 32, 32, 32, 32_000),
}
# What was written before goes just before the clock starts, alike for all: memory that has been
# free for a second or two goes back to a virtual machine's host, and costs more to get again than
# all that is timed here.
CLEAR = """
import shutil, sys
from pathlib import Path
out = Path(sys.argv[3])
shutil.rmtree(out, ignore_errors=True)
"""
COPY = f"""
import os, time
{CLEAR}
started = time.monotonic()
out.mkdir()
for path in sorted(Path(sys.argv[1]).iterdir()):
    shutil.copyfile(path, out / path.name)
    with open(out / path.name, "rb") as stream:
        os.fsync(stream.fileno())
print("SECONDS", time.monotonic() - started)
"""
OURS = f"""
import time
from langraft.checkpoint.merge import merge_adapters
{CLEAR}
started = time.monotonic()
merge_adapters(Path(sys.argv[1]), [Path(sys.argv[2])], out)
print("SECONDS", time.monotonic() - started)
"""
PEFT = f"""
import os, time
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
{CLEAR}
started = time.monotonic()
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
PeftModel.from_pretrained(model, sys.argv[2]).merge_and_unload().save_pretrained(out)
for path in out.iterdir():
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())
print("SECONDS", time.monotonic() - started)
"""


def random_tensor(name: str, shape: tuple[int, ...], scale: float = 0.02) -> StoredTensor:
    """Random bfloat16 numbers, made when they are written."""

    def rows(start: int, stop: int) -> torch.Tensor:
        return torch.randn(stop - start, *shape[1:]).mul_(scale)

    return StoredTensor(name, torch.bfloat16, shape, rows)


def linear_layers(shape: str) -> dict[str, tuple[int, int]]:
    """Every linear layer's name and (out, in)."""
    hidden, inner, layers, heads, key_heads, _ = SHAPES[shape]
    keys = hidden // heads * key_heads
    kinds = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    return {f"model.layers.{n}.{k}": size for n in range(layers) for k, size in kinds.items()}


def base_tensors(shape: str) -> list[StoredTensor]:
    """The random weights of a Llama model."""
    hidden, _, layers, _, _, rows = SHAPES[shape]
    tensors = [random_tensor("model.embed_tokens.weight", (rows, hidden))]
    tensors += [random_tensor(f"{n}.weight", size) for n, size in linear_layers(shape).items()]
    for number in range(layers):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors.append(random_tensor(f"model.layers.{number}.{norm}.weight", (hidden,)))
    tensors += [random_tensor("model.norm.weight", (hidden,))]
    return [*tensors, random_tensor("lm_head.weight", (rows, hidden))]


def base_config(shape: str) -> dict[str, Any]:
    """Its `config.json`."""
    hidden, inner, layers, heads, key_heads, rows = SHAPES[shape]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": rows,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }


def make_base(shape: str, folder: Path) -> None:
    """A random Llama folder, written tensor by tensor."""
    tensors, config = base_tensors(shape), base_config(shape)
    write_checkpoint(folder, tensors, config=config, files={}, made={"by": "random"})


def make_adapter(shape: str, rank: int, folder: Path) -> None:
    """A random adapter on every linear layer, alpha twice the rank."""
    folder.mkdir()
    tensors = []
    for name, (outputs, inputs) in linear_layers(shape).items():
        prefix = f"base_model.model.{name}"
        tensors.append(random_tensor(f"{prefix}.lora_A.weight", (rank, inputs)))
        tensors.append(random_tensor(f"{prefix}.lora_B.weight", (outputs, rank)))
    write_weights(folder, tensors, stem="adapter_model")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": sorted({name.rsplit(".", 1)[1] for name in linear_layers(shape)}),
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))


def contest(code: str, base: Path, adapter: Path, out: Path) -> dict[str, float]:
    """Run one contestant; seconds of its work and its largest resident set in MB."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, str(base), str(adapter), str(out)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise SystemExit(f"a contestant failed with status {status}: {said}")
    return {"seconds": float(said.split("SECONDS")[1]), "megabytes": usage.ru_maxrss / 1024}


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All contestants on one base, in turns; each deletes the result before its own."""
    base, adapter = folder / "base", folder / "adapter"
    make_base(arguments.shape, base)
    make_adapter(arguments.shape, arguments.rank, adapter)
    if arguments.stamped:
        stamp_adapter(adapter, weights_digest(open_checkpoint(base)))
    found: dict[str, Any] = {
        "shape": arguments.shape,
        "rank": arguments.rank,
        "stamped": arguments.stamped,
        "gigabytes": sum(path.stat().st_size for path in base.iterdir()) / 1e9,
    }
    contestants = {"copy": COPY, "langraft": OURS, "peft": PEFT}
    names = arguments.only.split(",")
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            rounds[name].append(contest(contestants[name], base, adapter, folder / "out"))
    for name in names:
        best = min(rounds[name], key=lambda one: one["seconds"])
        found[name] = {**best, "megabytes": max(one["megabytes"] for one in rounds[name])}
    return found


def main() -> None:
    """Measure, print a table, and write JSON when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2, help="the fastest counts")
    parser.add_argument("--stamped", action="store_true")
    parser.add_argument("--only", default="copy,langraft,peft")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        found = measure(arguments, Path(folder))
    print(f"{found['gigabytes']:.2f} GB, rank {found['rank']}, base hashed: {found['stamped']}\n")
    print("| | seconds | against the copy | peak MB | against peft |\n|---|---|---|---|---|")
    for name in arguments.only.split(","):
        one = found[name]
        for key, peer in (("seconds", "copy"), ("megabytes", "peft")):
            if peer in found:
                one[f"{key}_over_{peer}"] = one[key] / found[peer][key]
        cells = (f"{one['seconds']:.2f}", one.get("seconds_over_copy"))
        more = (f"{one['megabytes']:,.0f}", one.get("megabytes_over_peft"))
        shown = [f"{c:.2f}" if isinstance(c, float) else c or "" for c in (*cells, *more)]
        print(f"| {name} | {' | '.join(shown)} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
