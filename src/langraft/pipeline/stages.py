"""The stages in their order: what is done is skipped."""

from __future__ import annotations

import os
from collections.abc import Callable

import yaml

from langraft.core.errors import BadInput
from langraft.core.io import remove, write_atomic
from langraft.core.manifest import LOCK, Stage, run_lock, run_stage
from langraft.pipeline.align import align_stage
from langraft.pipeline.corpus import corpus_stage
from langraft.pipeline.evaluate import eval_stage
from langraft.pipeline.export import export_stage
from langraft.pipeline.graft import graft_stage
from langraft.pipeline.onpolicy import onpolicy_stage
from langraft.pipeline.pretrain import pretrain_stage
from langraft.pipeline.run import Run
from langraft.pipeline.sft import sft_stage
from langraft.pipeline.tokenizer import tokenizer_stage
from langraft.recipe import Grpo, Ppo


def go(this: Run, *, until: str | None = None, fresh: bool = False, twin: bool = False) -> None:
    """Do every stage of a run that is not done yet.

    Args:
        until: the last stage to do.
        fresh: forget what an earlier run left in the folder.
        twin: also train the untouched base on the same budget, for comparison.

    Raises:
        BadInput, RunFailed: see the stages.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise BadInput(
            "`langraft run` is for one process. Do the stages before the training with "
            "`langraft run RECIPE --until graft`, then "
            "`torchrun ... -m langraft train RECIPE --stage NAME`"
        )
    names = this.stages()
    if until is not None and until not in names:
        raise BadInput(f"--until {until}: this recipe has the stages {', '.join(names)}")
    with run_lock(this.out):
        if fresh:
            for path in [p for p in this.out.iterdir() if p.name != LOCK]:
                remove(path)
        write_atomic(this.out / "recipe.yaml", resolved(this))
        for name in names[: names.index(until) + 1] if until else names:
            if name == "eval" and twin:
                for stage in this.recipe.pretrain:
                    run_stage(this.out, pretrain_stage(this, stage, twin=True))
            run_stage(this.out, stage_of(this, name, twin))


def resolved(this: Run) -> str:
    """The recipe as YAML with every default written out and every path absolute, so that it runs
    from anywhere.
    """
    tree = this.recipe.model_dump(mode="json")
    for source in (tree["corpus"] or {}).get("sources", []):
        source["paths"] = [str((this.root / path).resolve()) for path in source["paths"]]
    for stage in tree["pretrain"]:
        if stage["late"]:
            stage["late"] = str((this.root / stage["late"]).resolve())
    for stage in [*([tree["sft"]] if tree["sft"] else []), *tree["align"]]:
        for one in stage["data"]:
            one["paths"] = [str((this.root / path).resolve()) for path in one["paths"]]
    if tree["base"] and (this.root / tree["base"]).exists():
        tree["base"] = str((this.root / tree["base"]).resolve())
    data = (tree["eval"] or {}).get("data")
    if data and (this.root / data).exists():
        tree["eval"]["data"] = str((this.root / data).resolve())
    return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)


def stage_of(this: Run, name: str, twin: bool = False) -> Stage:
    """The stage called `name`, ready to run once the stages before it are done."""
    if name == "eval":
        return eval_stage(this, twin)
    if name.startswith("pretrain-"):
        return pretrain_stage(
            this, next(s for s in this.recipe.pretrain if f"pretrain-{s.name}" == name)
        )
    if name.startswith("align-"):
        stage = next(s for s in this.recipe.align if f"align-{s.name}" == name)
        if isinstance(stage, Ppo | Grpo):
            return onpolicy_stage(this, stage)
        return align_stage(this, stage)
    build: dict[str, Callable[[Run], Stage]] = {
        "corpus": corpus_stage,
        "tokenizer": tokenizer_stage,
        "graft": graft_stage,
        "sft": sft_stage,
        "export": export_stage,
    }
    return build[name](this)
