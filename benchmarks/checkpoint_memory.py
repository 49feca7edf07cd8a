"""Peak memory and time of every operation on checkpoints, as a Markdown table.

    python benchmarks/checkpoint_memory.py [--shape 1b|7b|tiny] [--holes] [--folder DIR]
        [--json FILE]

bfloat16 folders of the named shape (a base, a second model, the base as `pytorch_model.bin` and in
Meta's layout with two tensor-parallel shards) are made below --folder and deleted again: random
ones, six times the model's size on disk, or with `--holes` files of zeros that take no room (only
what an operation writes does: once the model's size). Each operation is a `langraft checkpoint`
command in a process of its own. Peak memory is its largest resident set (VmHWM), Python and torch
included; seconds are those of the whole command, and mean nothing with `--holes`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from checkpoint_merge import SHAPES, base_config, base_tensors, make_adapter, make_base

LOAD = """
import contextlib, json, sys, torch
from pathlib import Path
from langraft.checkpoint.reading import open_checkpoint
source, out, holes = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "holes"
out.mkdir()
tensors = open_checkpoint(source).tensors.values()
state = {t.name: torch.empty(t.shape, dtype=t.dtype) if holes else t.whole() for t in tensors}
saving = torch.serialization.skip_data if holes else contextlib.nullcontext
"""
PICKLE = """
(out / "config.json").write_bytes((source / "config.json").read_bytes())
with saving():
    torch.save(state, out / "pytorch_model.bin")
"""
# The rows of queries and keys stay as they are: how long it takes does not depend on their order.
META = """
from langraft.checkpoint.meta import INNER, OUTER
config = json.loads((source / "config.json").read_text())
params = {"dim": config["hidden_size"], "n_layers": config["num_hidden_layers"], "norm_eps": 1e-5,
          "n_heads": config["num_attention_heads"], "n_kv_heads": config["num_key_value_heads"]}
(out / "params.json").write_text(json.dumps(params))
names = {new: (old, split) for old, (new, split) in OUTER.items()}
for layer in range(params["n_layers"]):
    for old, (new, split) in INNER.items():
        names[f"model.layers.{layer}.{new}"] = (f"layers.{layer}.{old}", split)
for shard in range(2):
    part = {}
    for name, tensor in state.items():
        old, split = names[name]
        half = tensor if split is None else tensor.chunk(2, dim=split)[shard]
        part[old] = torch.empty(half.shape, dtype=half.dtype) if holes else half.contiguous()
    with saving():
        torch.save(part, out / f"consolidated.{shard:02d}.pth")
"""
VERB = """
import sys
from langraft.cli import main
sys.argv = ["langraft", "checkpoint", *sys.argv[1:]]
try:
    main()
finally:
    status = open("/proc/self/status").read()
    print("PEAK", status.split("VmHWM:")[1].split()[0])
"""
# name -> words of the command, with {out} replaced
OPERATIONS = {
    "info": "info base",
    "merge": "merge base --adapter adapter --out {out}",
    "convert from pytorch_model.bin": "convert bin --out {out}",
    "convert from consolidated.*.pth": "convert meta --out {out}",
    "delta-make": "delta-make base second --out delta",
    "delta-apply": "delta-apply base delta --out {out}",
    "average, linear": "average base second --out {out}",
    "average, slerp": "average base second --method slerp --out {out}",
    "arithmetic": "arithmetic base --plus second --minus base --scale 0.5 --out {out}",
}


def python(code: str, *words: str, folder: Path) -> str:
    """Run Python code in its own process; what it printed.

    Raises:
        SystemExit: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{words}: failed with status {done.returncode}")
    return done.stdout


def make_hollow(shape: str, folder: Path, last: float) -> None:
    """The base's folder with a file of nothing but holes behind its header, save the last number:
    models that are the same have no delta.
    """
    entries, end = {}, 0
    for tensor in base_tensors(shape):
        place = [end, end + tensor.nbytes]
        entries[tensor.name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": place}
        end += tensor.nbytes
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(base_config(shape)))
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(len(header).to_bytes(8, "little") + header)
        stream.truncate(8 + len(header) + end)
        stream.seek(-2, os.SEEK_END)
        stream.write(struct.pack("<f", last)[2:])  # bfloat16 is the upper half of float32


def main() -> None:
    """Make the folders, run every operation, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="1b")
    parser.add_argument("--holes", action="store_true", help="weights that take no room on disk")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        for number, model in enumerate(("base", "second")):
            if arguments.holes:
                make_hollow(arguments.shape, folder / model, float(number))
            else:
                make_base(arguments.shape, folder / model)
        make_adapter(arguments.shape, 64, folder / "adapter")
        kind = "holes" if arguments.holes else "random"
        python(LOAD + PICKLE, "base", "bin", kind, folder=folder)
        python(LOAD + META, "base", "meta", kind, folder=folder)
        size = sum(path.stat().st_size for path in (folder / "base").iterdir())
        print(f"{size / 1e9:.2f} GB\n\n| operation | seconds | peak MB |\n|---|---|---|")
        for operation, words in OPERATIONS.items():
            started = time.monotonic()
            said = python(VERB, *words.format(out="out").split(), folder=folder)
            seconds, peak = time.monotonic() - started, int(said.split("PEAK")[1]) / 1024
            found[operation] = {"seconds": seconds, "megabytes": peak}
            print(f"| {operation} | {seconds:.1f} | {peak:,.0f} |", flush=True)
            shutil.rmtree(folder / "out", ignore_errors=True)
            if arguments.holes and operation == "delta-make":
                for path in (folder / "delta").glob("*.safetensors"):
                    subprocess.run(["fallocate", "--dig-holes", path], check=True)
    if arguments.json:
        result = {
            "shape": arguments.shape,
            "holes": arguments.holes,
            "gigabytes": size / 1e9,
            "operations": found,
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
