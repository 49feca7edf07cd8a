"""What the forgetting meter's actions do on a real model: the grafted model of a finished run reads
Chinese at a rate that harms its English, once with a fixed mix and once with each action.

    python benchmarks/train_forgetting.py RUN [--json FILE] [--page FILE.html] [--only fixed ...]

RUN is a run of two languages, done up to its graft (`make demo` leaves one). Nothing differs but
the action: text, order, rate and schedule are the same. Bits per byte are measured on the run's
hold-out. What FILE holds already is not trained again; a FILE of other settings is
refused.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import load_model, load_tokenizer
from langraft.core.metrics import read_metrics
from langraft.data.frame import document_frame
from langraft.pipeline.forgetting import Meter
from langraft.pipeline.measure import bits_of
from langraft.pipeline.pretrain import course_of
from langraft.pipeline.run import METRICS, Run
from langraft.pipeline.training import new_rows_of, place_of
from langraft.pipeline.watch import Watch
from langraft.recipe import Forgetting, Pretrain, load_recipe
from langraft.report.charts import Chart, Guide, Line, line_chart
from langraft.report.vocabulary import write_table_page
from langraft.tokenizer.encoder import load_encoder
from langraft.train.pretrain import pretrain

COLUMNS = ("action", "worst rise of English", "last rise", "Chinese bits", "English in the mix")
ACTIONS = {"fixed": "warn", "raise-replay": "raise-replay", "lower-rate": "lower-rate"}


def run_in(finished: Path, out: Path, held_bytes: int) -> Run:
    """A run that reads the finished one's corpus, tokenizer and graft, and writes into `out`."""
    out.mkdir(parents=True)
    for name in ("corpus", "tokenizer", "graft"):
        (out / name).symlink_to((finished / name).resolve())
    recipe = load_recipe(finished / "recipe.yaml")
    assert recipe.eval is not None
    short = recipe.eval.model_copy(update={"max_bytes": held_bytes})
    return Run(recipe.model_copy(update={"eval": short}), finished, out)


def taught(
    this: Run, stage: Pretrain, rules: Forgetting, base: dict[str, float], action: str
) -> dict[str, Any]:
    """One training from the graft; what every evaluation found."""
    source, folder = this.out / "graft", this.out / action
    folder.mkdir()
    model, course = load_model(source), course_of(this, stage, source)
    old = tuple(this.sources(new=False))
    acting = rules.model_copy(update={"on_breach": ACTIONS[action]})
    meter, log = Meter(acting, base, old, old), this.log(action)
    watch = Watch(this, stage, source, model, course, meter, folder, log)
    watch(0, 0)
    rows, place = new_rows_of(this, source), place_of(this)
    done = pretrain(model, course, stage, rows, place, folder, log, watch)
    log.close()
    records = [r for r in read_metrics(this.out / METRICS) if r["stage"] == action]
    seen = [record for record in records if "forgetting" in record]
    return {
        "worst_rise": max(record["forgetting"]["rise"] for record in seen),
        "last_rise": seen[-1]["forgetting"]["rise"],
        "bits": {"before": seen[0]["bits"], "after": seen[-1]["bits"]},
        "mix": done.numbers["mix"],
        "share_of_the_rate": records[-2]["share"],
        "seen": [{k: r[k] for k in ("step", "bits", "forgetting")} for r in seen],
    }


def main() -> None:
    """Measure the base, train once an action, print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="HTML with the curves")
    parser.add_argument("--only", nargs="*", choices=ACTIONS, default=list(ACTIONS))
    parser.add_argument("--steps", type=int, default=48)
    parser.add_argument("--evaluate", type=int, default=16)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--new-share", type=float, default=0.95, help="of the new language")
    parser.add_argument("--budget", type=float, default=0.03)
    parser.add_argument("--held-bytes", type=int, default=4_000, help="of each language")
    arguments = parser.parse_args()
    stage = Pretrain(
        name="chinese",
        tokens=512 * arguments.steps,
        lr=arguments.lr,
        row_tokens=64,
        batch_tokens=512,
        mix={"zh": arguments.new_share, "en": 1 - arguments.new_share},
        schedule="constant",
        warmup=0.3,
        evaluate=arguments.evaluate,
        checkpoint_seconds=1e9,
    )
    rules = Forgetting(max_rise=arguments.budget)
    settings = {
        "run": str(arguments.run.resolve()),
        "held_bytes": arguments.held_bytes,
        "stage": stage.model_dump(mode="json"),
        "rules": rules.model_dump(mode="json"),
    }
    found: dict[str, Any] = {"settings": settings}
    if arguments.json and arguments.json.exists():
        found = json.loads(arguments.json.read_text())
        if found.get("settings") != settings:
            sys.exit(f"{arguments.json} holds another run or other settings; name another file")
    with tempfile.TemporaryDirectory() as work:
        this = run_in(arguments.run, Path(work) / "run", arguments.held_bytes)
        frame = document_frame(load_tokenizer(this.base))
        base = bits_of(this, load_model(this.base), load_encoder(this.base), frame, "base")
        found["base"] = base
        for action in arguments.only:
            if action in found:
                continue
            found[action] = taught(this, stage, rules, base, action)
            if arguments.json:
                arguments.json.write_text(json.dumps(found, indent=2) + "\n")
    print(
        f"{arguments.steps} steps of 512 tokens, {arguments.new_share:.1%} Chinese, "
        f"lr {arguments.lr:g}, budget {rules.max_rise:.0%}"
    )
    actions = [action for action in ACTIONS if action in found]
    rows = [row_of(action, found[action]) for action in actions]
    for row in rows:
        print("  ".join(f"{name} {cell}" for name, cell in zip(COLUMNS, row, strict=True)))
    if arguments.page:
        title = "The forgetting meter's actions"
        charts = drawn(found, actions)
        write_table_page(arguments.page, title, "", charts, COLUMNS, rows, what="forgetting")


def row_of(action: str, seen: dict[str, Any]) -> list[str]:
    """What one action did, under COLUMNS."""
    chinese = [seen["bits"][when]["zh"] for when in ("before", "after")]
    return [
        action,
        f"{seen['worst_rise']:+.1%}",
        f"{seen['last_rise']:+.1%}",
        f"{chinese[0]:.3f} to {chinese[1]:.3f}",
        f"{seen['mix']['en']:.1%}",
    ]


def drawn(found: dict[str, Any], actions: list[str]) -> list[Chart]:
    """English and Chinese at every evaluation, a curve an action."""
    tones = {"fixed": "old", "raise-replay": "new", "lower-rate": "graft"}

    def lines(value: Callable[[dict[str, Any]], float]) -> list[Line]:
        return [
            Line(action, [(r["step"], value(r)) for r in found[action]["seen"]], tones[action])
            for action in actions
        ]

    guides = [
        Guide("budget", 100 * found["settings"]["rules"]["max_rise"], "limit"),
        Guide("untouched base", 0.0, "base"),
    ]
    rise = lines(lambda r: 100 * r["forgetting"]["rise"])
    new = lines(lambda r: r["bits"]["zh"])
    return [
        line_chart("English: rise over the base, % of its bits per byte", "step", rise, guides),
        line_chart("Chinese: bits per byte", "step", new),
    ]


if __name__ == "__main__":
    main()
