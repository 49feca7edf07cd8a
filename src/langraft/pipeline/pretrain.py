"""The stages of continued pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import copy_tokenizer, load_model, load_tokenizer, save_model
from langraft.core.io import remove
from langraft.core.manifest import Stage, outputs_digest
from langraft.core.metrics import MetricsLog
from langraft.data.frame import document_frame
from langraft.data.pack import Mix, Stream
from langraft.data.shards import Frame, read_shard, write_shard
from langraft.pipeline.measure import bits_of, measuring, watch_forgetting
from langraft.pipeline.run import METRICS, Run
from langraft.recipe import Pretrain
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.train.engine import drop_checkpoint
from langraft.train.pretrain import pretrain, steps

SHARDS = "shards"


def pretrain_stage(this: Run, stage: Pretrain, twin: bool = False) -> Stage:
    """The model so far -> the model after one stage of continued pretraining; with `twin`, the same
    for the untouched base.
    """
    prefix = "twin-" if twin else "pretrain-"
    index = this.recipe.pretrain.index(stage)
    before = (
        f"{prefix}{this.recipe.pretrain[index - 1].name}" if index else ("" if twin else "graft")
    )
    if before == "graft" and this.recipe.graft is None:
        before = ""
    source = this.out / before if before else this.base
    shares = dict(stage.mix) or {this.language: 1.0}

    def work(folder: Path) -> dict[str, Any]:
        encoder = load_encoder(source)
        frame = document_frame(load_tokenizer(source))
        mix = Mix(
            streams(this, folder / SHARDS, encoder, frame, list(shares)),
            shares,
            rows=stage.batch_tokens // stage.row_tokens,
            row_tokens=stage.row_tokens,
            steps=steps(stage),
        )
        model = load_model(source)
        new = (load_encoder(this.base).size, encoder.size)
        log = MetricsLog(this.out / METRICS, prefix + stage.name)
        bits: dict[str, float] = {}

        def evaluate(step: int, tokens: int) -> None:
            bits.update(bits_of(this, model, encoder, frame, f"{stage.name} at step {step}"))
            log.write(step, tokens=tokens, bits=bits)
            if not twin:
                watch_forgetting(this, bits)

        results = pretrain(model, mix, stage, new, this.device, folder, log, evaluate)
        save_model(model.to("cpu"), folder)
        copy_tokenizer(source, folder)
        drop_checkpoint(folder)
        remove(folder / SHARDS)
        return {**results, "bits": bits}

    inputs = {"model": outputs_digest(this.manifest(before)) if before else this.base_digest}
    inputs["corpus"] = outputs_digest(this.manifest("corpus"))
    settings = {**stage.model_dump(mode="json"), "seed": this.recipe.seed, **measuring(this)}
    return Stage(prefix + stage.name, settings, inputs, work)


def streams(
    this: Run, folder: Path, encoder: Encoder, frame: Frame, languages: Sequence[str]
) -> dict[str, Stream]:
    """One endless stream of training documents for each language, tokenised once into `folder`."""
    found = {}
    for number, language in enumerate(languages):
        sources = [source for source, code in this.languages.items() if code == language]
        shards = []
        for source in sources:
            place = folder / source
            if not place.exists():
                partial = place.with_name(place.name + ".partial")
                remove(partial)
                write_shard(partial, this.texts("train", source), encoder.encode_batch, frame)
                partial.rename(place)
            shards.append(read_shard(place))
        if shards:
            found[language] = Stream(shards, this.recipe.seed + number)
    return found
