"""The graft stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import copy_tokenizer, load_model, load_tokenizer, save_model
from langraft.core.manifest import Stage, outputs_digest
from langraft.data.frame import document_frame
from langraft.graft.rows import add_rows, padded
from langraft.pipeline.measure import bits_of, measuring
from langraft.pipeline.run import METRICS, Run
from langraft.recipe import needs
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.segments import subtokens
from langraft.train.distil import Reader, distil_rows, forget_lessons


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
