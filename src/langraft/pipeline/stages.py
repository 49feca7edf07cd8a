"""The stages: from a recipe's section to work on a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from langraft.checkpoint.folder import copy_tokenizer, load_model, load_tokenizer, save_model
from langraft.core.errors import BadInput, RunFailed
from langraft.core.io import remove, write_atomic
from langraft.core.manifest import LOCK, Stage, outputs_digest, run_lock, run_stage
from langraft.core.metrics import MetricsLog
from langraft.corpus.build import build_corpus, input_hashes
from langraft.data.frame import document_frame
from langraft.data.pack import Mix, Stream
from langraft.data.shards import Frame, read_shard, write_shard
from langraft.graft.rows import add_rows, padded
from langraft.pipeline.measure import bits_of, measuring, samples, targets, watch_forgetting
from langraft.pipeline.run import METRICS, Run
from langraft.recipe import Pretrain, needs
from langraft.tokenizer.check import check_tokenizer
from langraft.tokenizer.compare import measure
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.tokenizer.extend import extend_tokenizer
from langraft.tokenizer.segments import subtokens
from langraft.train.distil import Reader, distil_rows, forget_lessons
from langraft.train.engine import drop_checkpoint
from langraft.train.pretrain import pretrain, steps

SHARDS = "shards"
CHECKED_LINES = 10_000


def go(this: Run, *, until: str | None = None, fresh: bool = False, twin: bool = False) -> None:
    """Do every stage of a run that is not done yet.

    Args:
        until: the last stage to do.
        fresh: forget what an earlier run left in the folder.
        twin: also train the untouched base on the same budget, for comparison.

    Raises:
        BadInput, RunFailed: see the stages.
    """
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
    if tree["base"] and (this.root / tree["base"]).exists():
        tree["base"] = str((this.root / tree["base"]).resolve())
    return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)


def stage_of(this: Run, name: str, twin: bool = False) -> Stage:
    """The stage called `name`, ready to run once the stages before it are done."""
    if name == "eval":
        return eval_stage(this, twin)
    if name.startswith("pretrain-"):
        return pretrain_stage(
            this, next(s for s in this.recipe.pretrain if f"pretrain-{s.name}" == name)
        )
    build: dict[str, Callable[[Run], Stage]] = {
        "corpus": corpus_stage,
        "tokenizer": tokenizer_stage,
        "graft": graft_stage,
    }
    return build[name](this)


def corpus_stage(this: Run) -> Stage:
    """Raw text -> clean training and hold-out documents."""
    needs(this.recipe, "corpus", "language")
    corpus = this.recipe.corpus
    assert corpus is not None

    def work(folder: Path) -> dict[str, Any]:
        return build_corpus(corpus, this.language, this.root, folder)

    settings = {"corpus": corpus.model_dump(mode="json"), "language": this.language}
    return Stage("corpus", settings, input_hashes(corpus, this.root), work)


def tokenizer_stage(this: Run) -> Stage:
    """The base tokenizer and the new language's text -> an extended tokenizer with its proofs."""
    needs(this.recipe, "tokenizer", "language", "corpus")
    settings, language = this.recipe.tokenizer, this.recipe.language
    assert settings is not None and language is not None
    new, old = this.sources(new=True), this.sources(new=False)

    def work(folder: Path) -> dict[str, Any]:
        base = load_encoder(this.base)
        held = {source: this.texts("holdout", source) for source in this.languages}
        if settings.method == "keep":
            copy_tokenizer(this.base, folder)
            results = {"base_pieces": base.size, "added_pieces": 0, "family": base.family}
        else:
            results = extend_tokenizer(
                this.base,
                [text for source in new for text in this.texts("train", source)],
                size=settings.size,
                scripts=language.scripts,
                min_frequency=settings.min_frequency,
                max_piece_characters=settings.max_piece_characters,
                out=folder,
            )
            results["proofs"] = proofs(this, folder, old, [t for s in new for t in held[s]])
        extended = load_encoder(folder)
        ratios = {
            source: {
                "base": measure(base, texts)["tokens_per_character"],
                "extended": measure(extended, texts)["tokens_per_character"],
            }
            for source, texts in held.items()
        }
        rows = padded(extended.size, settings.pad_to)
        return {**results, "rows": rows, "tokens_per_character": ratios}

    inputs = {"base": this.base_digest, "corpus": outputs_digest(this.manifest("corpus"))}
    return Stage(
        "tokenizer",
        {"tokenizer": settings.model_dump(mode="json"), **language.model_dump(mode="json")},
        inputs,
        work,
    )


def proofs(
    this: Run, extended: Path, old: Sequence[str], new: Sequence[str]
) -> list[dict[str, Any]]:
    """The tokenizer contract, proven on lines of the sources `old` and on the texts `new`.

    Raises:
        RunFailed: it does not hold; the message has the counter-example.
    """
    texts = [text for source in old for text in this.texts("train", source)]
    lines = [line for text in texts for line in text.split("\n") if line]
    found = check_tokenizer(this.base, extended, lines[:CHECKED_LINES], new)
    for proof in found:
        if not proof.passed:
            shown = f"{proof.name} does not hold; counter-example: {proof.counterexample}"
            raise RunFailed(f"tokenizer: {shown}")
    return [dataclasses.asdict(proof) for proof in found]


def graft_stage(this: Run) -> Stage:
    """The base model and the extended tokenizer -> a model with rows for the new pieces, and both
    models' zero-step score.
    """
    needs(this.recipe, "graft", "tokenizer", "corpus")
    graft, tokenizer = this.recipe.graft, this.recipe.tokenizer
    assert graft is not None and tokenizer is not None
    untie = graft.init == "distil" if graft.untie == "auto" else graft.untie

    def work(folder: Path) -> dict[str, Any]:
        base, extended = load_encoder(this.base), load_encoder(this.out / "tokenizer")
        frame = document_frame(load_tokenizer(this.base))
        model = load_model(this.base)
        bits = {"base": bits_of(this, model, base, frame, "base")}
        pieces = subtokens(base, extended)
        first = extended.size - len(pieces)
        rows = model.get_input_embeddings().num_embeddings
        if pieces:
            rows = max(rows, padded(extended.size, tokenizer.pad_to))
        apart = untie and bool(pieces)
        grafted = add_rows(model, pieces, first=first, rows=rows, untie=apart)
        results: dict[str, Any] = {"method": graft.init, "untied": apart, "added_rows": len(pieces)}
        if graft.init == "distil" and pieces:
            texts = [t for source in this.sources(new=True) for t in this.texts("train", source)]
            reader = Reader(base, extended, frame, texts, this.device, this.recipe.seed)
            metrics = this.out / METRICS
            results |= distil_rows(grafted, pieces, reader, graft.distil, folder, metrics)
        bits["grafted"] = bits_of(this, grafted, extended, frame, "grafted")
        save_model(grafted, folder)
        copy_tokenizer(this.out / "tokenizer", folder)
        forget_lessons(folder)
        return {**results, "bits": bits}

    inputs = {
        "base": this.base_digest,
        "tokenizer": outputs_digest(this.manifest("tokenizer")),
        "corpus": outputs_digest(this.manifest("corpus")),
    }
    return Stage(
        "graft",
        {
            **graft.model_dump(mode="json"),
            "pad_to": tokenizer.pad_to,
            "seed": this.recipe.seed,
            **measuring(this),
        },
        inputs,
        work,
    )


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


def eval_stage(this: Run, twin: bool) -> Stage:
    """The adapted model beside the untouched base: bits per byte, tokens per character, samples,
    targets.
    """
    needs(this.recipe, "eval", "corpus", "tokenizer", "graft")
    settings = this.recipe.eval
    assert settings is not None
    last = f"pretrain-{this.recipe.pretrain[-1].name}" if this.recipe.pretrain else "graft"
    twin_last = f"twin-{this.recipe.pretrain[-1].name}" if twin and this.recipe.pretrain else None

    def work(folder: Path) -> dict[str, Any]:
        bits = dict(this.manifest("graft")["results"]["bits"])
        bits["adapted"] = this.manifest(last)["results"]["bits"]
        if twin_last is not None:
            bits["twin"] = this.manifest(twin_last)["results"]["bits"]
        ratios = this.manifest("tokenizer")["results"]["tokens_per_character"]
        return {
            "bits": bits,
            "languages": this.languages,
            "tokens_per_character": {
                s: {"base": r["base"], "adapted": r["extended"]} for s, r in ratios.items()
            },
            "samples": samples(this.base, this.out / last, settings.prompts),
            "targets": targets(this, bits, ratios),
            "model": str(this.out / last),
        }

    inputs = {
        name: outputs_digest(this.manifest(name))
        for name in ("graft", last, *([twin_last] if twin_last else []))
    }
    return Stage(
        "eval",
        {**settings.model_dump(mode="json"), "forgetting": this.recipe.forgetting.model_dump()},
        inputs,
        work,
    )


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
