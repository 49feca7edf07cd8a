"""The stages of continued pretraining."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import (
    load_model,
    load_tokenizer,
    read_config,
)
from langraft.core.errors import BadInput
from langraft.core.io import sha256_file, sha256_json
from langraft.core.manifest import Stage, outputs_digest
from langraft.core.messages import say
from langraft.corpus.readers import read_texts
from langraft.data.course import Course, Layout
from langraft.data.frame import document_frame
from langraft.data.pack import Stream
from langraft.data.shards import Frame, Shard, Spelling, require_rows, tokenise
from langraft.pipeline.measure import measuring
from langraft.pipeline.run import Run
from langraft.pipeline.slices import SLICES
from langraft.pipeline.training import (
    new_rows_of,
    place_of,
    settings_of,
    training_stage,
    write_learnt,
)
from langraft.pipeline.watch import Watch, meter_of
from langraft.recipe import Pretrain
from langraft.tokenizer.encoder import load_encoder
from langraft.train.pretrain import pretrain, steps

SHARDS = "shards"


def pretrain_stage(this: Run, stage: Pretrain, twin: bool = False) -> Stage:
    """The model so far -> the model after one stage of continued pretraining; with `twin`, the same
    for the untouched base.

    Raises:
        BadInput: the folder holds checkpoints that were made with other settings or inputs.
    """
    name = ("twin-" if twin else "pretrain-") + stage.name
    before, source = model_before(this, stage, twin)

    def learn(folder: Path) -> dict[str, Any]:
        course = course_of(this, stage, source)
        meter = None if twin else meter_of(this)
        if meter is not None:
            meter.check(course)
        model = load_model(source)
        with closing(this.log(name)) as log:
            watch = Watch(this, stage, source, model, course, meter, folder, log)
            new, place = new_rows_of(this, source), place_of(this)
            done = pretrain(model, course, stage, new, place, folder, log, watch)
        if this.ranks.lead:
            write_learnt(source, done.weights, stage, folder)
        return done.numbers | watch.results()

    inputs = {"model": outputs_digest(this.manifest(before)) if before else this.base_digest}
    inputs["corpus"] = outputs_digest(this.manifest("corpus"))
    settings = settings_of(this, stage) | measuring(this)
    if this.recipe.forgetting.on_breach in ("raise-replay", "lower-rate"):
        settings["forgetting"] = this.recipe.forgetting.model_dump(mode="json")
    return training_stage(this, name, settings, inputs, learn, (SLICES,))


def model_before(this: Run, stage: Pretrain, twin: bool = False) -> tuple[str, Path]:
    """The stage whose model this one starts from ("" is the base), and that model's folder."""
    prefix = "twin-" if twin else "pretrain-"
    index = this.recipe.pretrain.index(stage)
    first = "" if twin or this.recipe.graft is None else "graft"
    before = f"{prefix}{this.recipe.pretrain[index - 1].name}" if index else first
    return before, this.out / before if before else this.base


def course_of(this: Run, stage: Pretrain, source: Path) -> Course:
    """The stage's batches, from the corpus tokenised once for all stages with this tokenizer.

    Raises:
        BadInput: the budget needs more text than there is, or a part of the mix has none.
    """
    frame = document_frame(load_tokenizer(source))
    shares = dict(stage.mix) or {this.language: 1.0}
    spelling = spelling_of(this, stage, source)
    place = shards_folder(this, spelling, frame)
    held: dict[str, list[Shard]] = {}
    if this.ranks.lead:  # the others read what this one writes
        held = _shards(this, place, spelling, frame, list(shares))
    this.ranks.wait()
    held = held or _shards(this, place, spelling, frame, list(shares))

    def bucket(number: int) -> dict[str, Stream]:
        part = (number, stage.buckets)
        return {
            name: Stream(shards, this.recipe.seed + list(shares).index(name), part)
            for name, shards in held.items()
        }

    late = this.root / stage.late if stage.late is not None else None
    layout = Layout(
        rows=stage.batch_tokens // stage.row_tokens,
        row_tokens=stage.row_tokens,
        steps=steps(stage),
        buckets=stage.buckets,
        epochs=stage.epochs,
        across=stage.across_documents,
    )
    course = Course(
        shares,
        layout,
        bucket,
        None if late is None else _late_streams(this, late, place, spelling, frame, list(shares)),
        (lambda: ()) if late is None else (lambda: _late_names(this, late)),
    )
    try:
        course.check()
    except BadInput as error:
        index = this.recipe.pretrain.index(stage)
        raise BadInput(f"pretrain.{index} ({stage.name}): {error}") from error
    return course


def spelling_of(this: Run, stage: Pretrain, source: Path) -> Spelling:
    """How the stage's texts become ids. Dropout leaves out added merges: a model without any, as
    the untouched base is, has its texts spelt as always.
    """
    if not stage.bpe_dropout or load_encoder(source).size == load_encoder(this.base).size:
        return Spelling(source)
    seed = this.recipe.seed + this.recipe.pretrain.index(stage)
    return Spelling(source, this.base, stage.bpe_dropout, seed)


def shards_folder(this: Run, spelling: Spelling, frame: Frame) -> Path:
    """Where the corpus lies as these ids; stages that spell alike share it."""
    key: dict[str, Any] = {
        "corpus": outputs_digest(this.manifest("corpus")),
        "tokenizer": load_encoder(spelling.tokenizer).definition,
        "frame": dataclasses.asdict(frame),
    }
    if spelling.dropout:
        key["dropout"] = [spelling.dropout, spelling.seed]
    return this.out / SHARDS / sha256_json(key)[:12]


def _shards(
    this: Run, place: Path, spelling: Spelling, frame: Frame, parts: Sequence[str]
) -> dict[str, list[Shard]]:
    """The shards of every part of the mix; sources without documents are left out."""
    found: dict[str, list[Shard]] = {}
    for part in parts:
        for name in this.sources_of(part):
            documents = this.documents("train", name)
            first = next(documents, None)
            if first is not None:
                texts = (d.text for d in itertools.chain([first], documents))
                found.setdefault(part, []).extend(tokenise(place / name, texts, spelling, frame))
                require_rows(place / name, read_config(spelling.tokenizer).vocab_size)
    return found


def _late_names(this: Run, late: Path) -> list[str]:
    """Late buckets there are now; the lead's answer counts, as a folder may be growing."""
    names = sorted(p.name for p in late.iterdir() if p.is_dir()) if late.is_dir() else []
    return this.ranks.agree(names)


def _late_streams(
    this: Run, late: Path, place: Path, spelling: Spelling, frame: Frame, parts: Sequence[str]
) -> Callable[[str], dict[str, Stream]]:
    """What tokenises a late bucket: `SOURCE.jsonl[.zst]` files, or any that the readers take."""

    def streams(name: str) -> dict[str, Stream]:
        found = {}
        for part in parts:
            files = [
                path
                for wanted in this.sources_of(part)
                for path in sorted((late / name).glob(f"{wanted}.*"))
            ]
            if not files:
                raise BadInput(
                    f"{late / name}: the late bucket has no file for {part!r} of the "
                    f"mix ({', '.join(this.sources_of(part))}.jsonl)"
                )
            texts = (record.text for path in files for record in read_texts(path, "text"))
            content = sha256_json([sha256_file(path) for path in files])
            where = place / "late" / f"{name}-{part}-{content[:8]}"
            if this.ranks.lead:
                tokenise(where, texts, spelling, frame)
            this.ranks.wait()
            shards = tokenise(where, (), spelling, frame)
            require_rows(where, read_config(spelling.tokenizer).vocab_size)
            found[part] = Stream(shards, this.recipe.seed + list(parts).index(part))
        say(f"[cyan]late bucket[/cyan] {name}")
        return found

    return streams
