"""Chinese bits per byte while training, from each start of the new rows, at one token budget.

    python benchmarks/graft_curves.py [--pieces 4000] [--starts subtoken-mean weighted distil]
        [--tokens 4096] [--json OUT]

Corpus, hold-out and options as in graft_zero_step.py. The peer is the start that everybody uses,
subtoken-mean. All parameters learn at rate 1e-4 from the same documents in the same order; grafted
models and finished curves are kept in `--work`, so a second call makes only what is missing.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from graft_bench import options, prepare

from langraft.checkpoint.folder import load_model, load_tokenizer
from langraft.core.metrics import MetricsLog
from langraft.data.course import Course, Layout
from langraft.data.frame import document_frame
from langraft.data.pack import Stream
from langraft.data.shards import write_shard
from langraft.evals.bits import bits_per_byte, excerpts
from langraft.pipeline.one_graft import graft_once
from langraft.recipe import Pretrain
from langraft.tokenizer.encoder import load_encoder
from langraft.train.precision import choose_device
from langraft.train.pretrain import pretrain, steps
from langraft.train.stage import Place

LANGUAGE = "zh"


def curve(
    folder: Path, learn: list[str], held: list[str], stage: Pretrain, work: Path, first: int
) -> list[tuple[int, float]]:
    """Tokens trained on, and bits per byte there, beginning with none."""
    device, encoder = choose_device("auto", "auto"), load_encoder(folder)
    frame = document_frame(load_tokenizer(folder))
    model = load_model(folder)
    shutil.rmtree(work, ignore_errors=True)
    shard = write_shard(work / "shard", learn, encoder.encode_batch, frame)
    layout = Layout(
        rows=stage.batch_tokens // stage.row_tokens,
        row_tokens=stage.row_tokens,
        steps=steps(stage),
        buckets=stage.buckets,
        epochs=stage.epochs,
        across=stage.across_documents,
    )
    course = Course({LANGUAGE: 1.0}, layout, lambda _: {LANGUAGE: Stream([shard], 17)})
    found = []

    def evaluate(step: int, tokens: int) -> None:
        score = bits_per_byte(
            model,
            encoder.encode_batch,
            held,
            start=frame.start,
            window=512,
            autocast=device.bf16,
        )
        found.append((tokens, round(score.per_byte, 4)))
        print(f"{folder.name}: {tokens} tokens, {score.per_byte:.4f}", flush=True)

    model.to(device.name)
    evaluate(0, 0)
    log = MetricsLog(work / "metrics.jsonl", "curve")
    pretrain(model, course, stage, (first, encoder.size), Place(device), work, log, evaluate)
    shutil.rmtree(work)
    return found


def main() -> None:
    """Graft, train, and print the table."""
    arguments = parse()
    ground = prepare(arguments)
    place, first = ground.place, load_encoder(ground.base).size
    stage = Pretrain(
        name="curve",
        tokens=arguments.tokens,
        lr=1e-4,
        batch_tokens=512,
        row_tokens=256,
        warmup=0.2,
        decay=0.6,
        evaluate=arguments.evaluate,
    )
    scored = excerpts(ground.held, arguments.max_bytes)
    curves: dict[str, Any] = {}
    for start in arguments.starts:
        folder = place / f"start-{start.replace('/', '-')}"
        if not (folder / "config.json").exists():
            graft_once(ground.wish(folder, [start], arguments.set))
        kept = place / f"{folder.name}-{arguments.tokens}-{arguments.max_bytes}.json"
        if not kept.exists():
            points = curve(folder, ground.learn, scored, stage, place / "training", first)
            kept.write_text(json.dumps(points) + "\n")
        curves[start] = json.loads(kept.read_text())
    names = [f"{tokens:,}" for tokens, _ in curves[arguments.starts[0]]]
    print(f"\n{arguments.corpus}, {arguments.pieces:,} pieces, tokens trained on\n")
    print(f"| start | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for start, points in curves.items():
        print(f"| {start} | {' | '.join(f'{bits:.3f}' for _, bits in points)} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(curves, indent=2) + "\n")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = options(__doc__.splitlines()[0], ["subtoken-mean", "weighted", "distil"], 8_000)
    parser.add_argument("--tokens", type=int, default=4_096)
    parser.add_argument("--evaluate", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
