"""Our GGUF files against llama.cpp's own quantiser, tensor by tensor and byte by byte.

    python benchmarks/export_bytes.py MODEL [--type q4_0 --type q8_0] [--json FILE]

MODEL is written once as F32; `llama_model_quantize` (package llama-cpp-python, a referee that is no
dependency of ours) makes each type from that file, and our writer from the folder. Seconds are
those of each, one after the other. A tensor counts as equal when its type and every byte are; in
the K mixes that holds only where we choose a tensor's type as llama.cpp does.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import tempfile
import time
from pathlib import Path

from gguf import GGUFReader

from langraft.checkpoint.bases import resolve_base
from langraft.export.gguf import export_gguf
from langraft.export.types import MIXES


def quantise_with_llama(source: Path, out: Path, kind: str) -> float:
    """Seconds that `llama_model_quantize` took."""
    import llama_cpp

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = int(MIXES[kind].file_type)
    settings.nthread = 2
    started = time.perf_counter()
    status = llama_cpp.llama_model_quantize(
        str(source).encode(), str(out).encode(), ctypes.byref(settings)
    )
    if status:
        raise SystemExit(f"llama_model_quantize failed on {kind} ({status})")
    return time.perf_counter() - started


def compare(ours: Path, theirs: Path) -> tuple[int, int, list[str]]:
    """Tensors, equal tensors, and what differs."""
    mine = {t.name: t for t in GGUFReader(ours).tensors}
    other = {t.name: t for t in GGUFReader(theirs).tensors}
    differing = [
        f"{name}: {mine[name].tensor_type.name} against {tensor.tensor_type.name}"
        for name, tensor in other.items()
        if mine[name].tensor_type != tensor.tensor_type
        or mine[name].data.tobytes() != tensor.data.tobytes()
    ]
    return len(other), len(other) - len(differing), differing


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--type", action="append", choices=sorted(MIXES))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    folder = resolve_base(options.model, Path())
    kinds = options.type or [k for k in MIXES if k not in ("f32", "f16", "bf16")]
    found = {}
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack():
        source = Path(place) / "f32.gguf"
        export_gguf(folder, source, "f32")
        for kind in kinds:
            ours, theirs = Path(place) / "ours.gguf", Path(place) / "theirs.gguf"
            started = time.perf_counter()
            export_gguf(folder, ours, kind)
            mine = time.perf_counter() - started
            peer = quantise_with_llama(source, theirs, kind)
            tensors, equal, differing = compare(ours, theirs)
            found[kind] = {"tensors": tensors, "equal": equal, "seconds": mine, "llama": peer}
            print(
                f"{kind}: {equal}/{tensors} tensors byte-identical; {mine:.2f} s against {peer:.2f}"
                f" s ({peer / mine:.2f}x)"
                + (f"; first difference {differing[0]}" if differing else "")
            )
            ours.unlink()
            theirs.unlink()
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
