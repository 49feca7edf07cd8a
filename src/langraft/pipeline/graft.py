"""The graft stage."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from langraft.checkpoint.folder import copy_tokenizer, load_model, load_tokenizer, save_model
from langraft.core.io import sha256_file
from langraft.core.manifest import Stage, outputs_digest
from langraft.data.frame import document_frame
from langraft.data.shards import Frame
from langraft.graft.knowledge import gather
from langraft.graft.rows import add_rows, padded
from langraft.pipeline.measure import bits_of, measuring
from langraft.pipeline.run import METRICS, Run
from langraft.recipe import Graft, needs
from langraft.recipe.graft import AUTO, PURE, parts_of
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.train.lessons import Reader
from langraft.train.starting import Bed, apart, choose, forget, plant, possible, set_apart


def graft_stage(this: Run) -> Stage:
    """The base model and the extended tokenizer -> a model with rows for the new pieces, and both
    models' zero-step score.
    """
    needs(this.recipe, "graft", "tokenizer", "corpus")
    graft, tokenizer = this.recipe.graft, this.recipe.tokenizer
    assert graft is not None and tokenizer is not None
    inputs = {
        "base": this.base_digest,
        "tokenizer": outputs_digest(this.manifest("tokenizer")),
        "corpus": outputs_digest(this.manifest("corpus")),
    }
    if graft.words is not None:
        inputs["words"] = sha256_file(this.root / graft.words)
    return Stage(
        "graft",
        {
            **graft.model_dump(mode="json"),
            "pad_to": tokenizer.pad_to,
            "seed": this.recipe.seed,
            **measuring(this),
        },
        inputs,
        partial(_graft, this, graft, tokenizer.pad_to),
    )


def _graft(this: Run, graft: Graft, pad_to: int, folder: Path) -> dict[str, Any]:
    """Write the grafted model into `folder`, and say what was learnt and both models' scores."""
    base, extended = load_encoder(this.base), load_encoder(this.out / "tokenizer")
    frame = document_frame(load_tokenizer(this.base))
    model = load_model(this.base)
    bits = {"base": bits_of(this, model, base, frame, "base")}
    judged = graft.init == AUTO
    learnt, heard = (_learnt(this, new=new, judged=judged) for new in (True, False))
    known, covered = gather(
        _methods(graft),
        base,
        extended,
        texts=learnt,
        words=_place(this, graft.words),
        donor=_place(this, graft.donor),
        seed=this.recipe.seed,
    )
    added = len(known.subtokens)
    rows = model.get_input_embeddings().num_embeddings
    if added:
        rows = max(rows, padded(extended.size, pad_to))
    untie = apart(graft.init) if graft.untie == "auto" else graft.untie
    untie = untie and bool(added)
    before = _judged(this, model, base, frame) if judged and added else {}
    model = add_rows(model, known.subtokens, first=base.size, rows=rows, untie=untie)
    reader = Reader(base, extended, frame, learnt, this.device, this.recipe.seed, heard)
    bed = Bed(model, known, base.size, reader, graft.distil, folder, this.out / METRICS)
    results: dict[str, Any] = {"method": graft.init, "untied": untie, "added_rows": added}
    if covered:
        results["covered"] = covered
    if judged and added:
        starts = list(graft.candidates) or possible(known, reader)
        score = partial(_judged, this, encoder=extended, frame=frame)
        best, table = choose(bed, starts, score, before, this.sources(new=True))
        results |= {"method": best, "judged_base": before, "starts": table}
    elif added:
        results |= plant(bed, graft.init)
    bits["grafted"] = bits_of(this, model, extended, frame, "grafted")
    save_model(model.to("cpu"), folder)
    copy_tokenizer(this.out / "tokenizer", folder)
    forget(folder)
    return {**results, "bits": bits}


def _learnt(this: Run, *, new: bool, judged: bool) -> list[str]:
    """The training documents in the new language or in all others, without those that judge."""
    sources = [this.texts("train", source) for source in this.sources(new=new)]
    return [t for texts in sources for t in (set_apart(texts)[0] if judged else texts)]


def _methods(graft: Graft) -> set[str]:
    """The methods that the recipe may come to need."""
    starts = graft.candidates or PURE if graft.init == AUTO else (graft.init,)
    return {method for start in starts for method in parts_of(start)}


def _place(this: Run, path: str | None) -> Path | None:
    return None if path is None else this.root / path


def _judged(this: Run, model: Any, encoder: Encoder, frame: Frame) -> dict[str, float]:
    """Bits per byte on training text that is set apart from what the starts learn from: the
    hold-out stays unseen by the choice.
    """
    return bits_of(
        this,
        model,
        encoder,
        frame,
        "starts",
        lambda source: set_apart(this.texts("train", source))[1],
    )
