"""`langraft graft`: one model grafted outside of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pydantic
import yaml
from transformers import PreTrainedModel

from langraft.checkpoint.bases import resolve_base
from langraft.checkpoint.folder import (
    copy_tokenizer,
    load_model,
    load_tokenizer,
    model_digest,
    save_model,
)
from langraft.core.errors import BadInput
from langraft.core.io import remove, sha256_json
from langraft.data.frame import document_frame
from langraft.data.shards import Frame
from langraft.evals.bits import bits_per_byte, excerpts
from langraft.graft.knowledge import gather
from langraft.graft.rows import add_rows, padded
from langraft.recipe import Distil
from langraft.recipe.graft import AUTO, PURE, parts_of
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.train.lessons import Reader
from langraft.train.precision import Device, choose_device
from langraft.train.starting import Bed, apart, choose, forget, plant, possible, set_apart

NEW, OLD = "new", "old"
WINDOW = 512


@dataclasses.dataclass(frozen=True)
class Wish:
    """What the command line asks for.

    Attributes:
        base: a folder, a GGUF file, a named base or a hub id.
        tokenizer: the extended tokenizer's folder.
        inits: starts, none (distil with text, subtoken-mean without), or `auto`.
        texts: documents in the new language; `held` are scored, else a part of `texts` is set
            apart.
        old_texts, old_held: the same in old languages, where new rows learn to be silent.
        score: whether to score; several starts always are.
        max_bytes: of each text that is scored.
        settings: `key=value` of `Distil`.
    """

    base: str
    tokenizer: Path
    out: Path
    inits: tuple[str, ...] = ()
    texts: list[str] = dataclasses.field(default_factory=list)
    old_texts: list[str] = dataclasses.field(default_factory=list)
    held: list[str] = dataclasses.field(default_factory=list)
    old_held: list[str] = dataclasses.field(default_factory=list)
    score: bool = False
    words: Path | None = None
    donor: Path | None = None
    untie: bool | None = None
    pad_to: int = 64
    max_bytes: int = 24_000
    seed: int = 17
    settings: tuple[str, ...] = ()


def graft_once(wish: Wish) -> dict[str, Any]:
    """Write the grafted model to `wish.out`; a killed call goes on from `OUT.work-...` beside it.

    Returns:
        `method`, `added_rows`, `rows`, `untied`, `model`; with scores also `base_bits` and
        `starts`, a row each, best first.

    Raises:
        BadInput: an unknown method or setting, or what a method needs is missing.
    """
    starts = _starts(wish)
    settings = distil_settings(wish.settings)
    scored = wish.score or len(starts) > 1 or starts == [AUTO]
    if scored and not (wish.texts or wish.held):
        raise BadInput("--score: needs text in the new language; give --text or --held")
    folder = resolve_base(wish.base, Path())
    base, extended = load_encoder(folder), load_encoder(wish.tokenizer)
    learnt, judged = _parts(wish.texts, wish.held, scored=scored)
    old_learnt, old_judged = _parts(wish.old_texts, wish.old_held, scored=scored)
    asked = PURE if starts == [AUTO] else [part for s in starts for part in parts_of(s)]
    known, covered = gather(
        asked, base, extended, texts=learnt, words=wish.words, donor=wish.donor, seed=wish.seed
    )
    device = choose_device("auto", "auto")
    frame = document_frame(load_tokenizer(folder))
    reader = (
        Reader(base, extended, frame, learnt, device, wish.seed, old_learnt) if learnt else None
    )
    if starts == [AUTO]:
        starts = possible(known, reader)
    model = load_model(folder)
    held = {NEW: judged, OLD: old_judged}
    judge = partial(_judge, texts={n: t for n, t in held.items() if t}, wish=wish, device=device)
    base_bits = judge(model, encoder=base, frame=frame) if scored else {}
    rows = max(model.get_input_embeddings().num_embeddings, padded(extended.size, wish.pad_to))
    untie = any(map(apart, starts)) if wish.untie is None and learnt else bool(wish.untie)
    model = add_rows(model, known.subtokens, first=base.size, rows=rows, untie=untie)
    work = wish.out.with_name(f"{wish.out.name}.work-{_digest(wish, folder)}")
    work.mkdir(parents=True, exist_ok=True)
    bed = Bed(model, known, base.size, reader, settings, work, work / "metrics.jsonl")
    result: dict[str, Any] = {"method": starts[0], "added_rows": len(known.subtokens), "rows": rows}
    if scored:
        score = partial(judge, encoder=extended, frame=frame)
        best, table = choose(bed, starts, score, base_bits, [NEW])
        result |= {"method": best, "base_bits": base_bits, "starts": table}
    elif known.subtokens:
        result |= plant(bed, starts[0])
    tied = bool(model.config.tie_word_embeddings)
    result |= {"untied": untie, "tied": tied, "covered": covered, "model": str(wish.out)}
    save_model(model.to("cpu"), wish.out, result)
    copy_tokenizer(wish.tokenizer, wish.out)
    forget(work)
    remove(work)
    return result


def _starts(wish: Wish) -> list[str]:
    default = AUTO if wish.score else "distil" if wish.texts else "subtoken-mean"
    starts = list(dict.fromkeys(wish.inits)) or [default]
    if AUTO in starts and len(starts) > 1:
        raise BadInput(f"--init auto: stands alone, not beside {starts}")
    for start in starts:
        if start != AUTO:
            try:
                parts_of(start)
            except ValueError as error:
                raise BadInput(f"--init {start}: {error}") from error
    return starts


def _parts(texts: list[str], held: list[str], *, scored: bool) -> tuple[list[str], list[str]]:
    """What is learnt from and what is scored."""
    return (texts, held) if held or not (scored and texts) else set_apart(texts)


def distil_settings(pairs: tuple[str, ...]) -> Distil:
    """The settings of `distil` with `key=value` pairs laid over the defaults.

    Raises:
        BadInput: an unknown key or a bad value.
    """
    values = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or key not in Distil.model_fields:
            raise BadInput(
                f"--set {pair}: write it as key=value; keys are {', '.join(Distil.model_fields)}"
            )
        values[key] = yaml.safe_load(value)
    try:
        return Distil.model_validate(values)
    except pydantic.ValidationError as error:
        found = error.errors()[0]
        raise BadInput(f"--set {found['loc'][0]}={found['input']}: {found['msg']}") from error


def _judge(
    model: PreTrainedModel,
    *,
    encoder: Encoder,
    frame: Frame,
    texts: Mapping[str, list[str]],
    wish: Wish,
    device: Device,
) -> dict[str, float]:
    model.to(device.name)
    found = {}
    for name, documents in texts.items():
        score = bits_per_byte(
            model,
            encoder.encode_batch,
            excerpts(documents, wish.max_bytes),
            start=frame.start,
            window=WINDOW,
            autocast=device.bf16,
        )
        found[name] = round(score.per_byte, 5)
    return found


def _digest(wish: Wish, folder: Path) -> str:
    """What tells the work of one call from another's: everything asked for but the output."""
    asked = dataclasses.asdict(wish) | {"base": model_digest(folder), "out": ""}
    asked["tokenizer"] = model_digest(wish.tokenizer)
    return sha256_json({key: str(value) for key, value in asked.items()})[:12]
