"""Cards for the models that a run leaves, from the manifests of its stages; and for a folder that
belongs to no run, from what lies beside it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from langraft.checkpoint.bases import BASES
from langraft.core.io import read_json, sha256_file
from langraft.core.manifest import MANIFEST, read_manifest
from langraft.export.card import README, Facts, Licence, licence_in, metadata_of, write_card
from langraft.pipeline.summary import suite_line, tuned_lines

RECIPE = "recipe.yaml"
MODELS = ("graft", "sft", "export")  # and what starts with these:
TRAINED = ("pretrain-", "align-", "twin-")
COLUMNS = {"base": "base", "grafted": "rows added", "here": "this model"}


def is_model_stage(name: str) -> bool:
    """Whether the stage of this name leaves a model."""
    return name in MODELS or name.startswith(TRAINED)


def write_cards(run: Path) -> list[Path]:
    """Write the card of every model in a run's folder, from what is there now.

    Raises:
        RunFailed: the system refuses to write.
    """
    folders = [path.parent for path in sorted(run.glob(f"*/{MANIFEST}"))]
    return [
        write_card(folder, facts_of(folder)) for folder in folders if is_model_stage(folder.name)
    ]


def facts_of(folder: Path) -> Facts:
    """What can be said of the model in `folder`."""
    folder = folder.resolve()
    if (folder.parent / RECIPE).is_file() and (folder / MANIFEST).is_file():
        return _facts_of_stage(folder)
    said = metadata_of(folder / README)
    return plain_facts(folder, str(said.get("base_model") or ""), "")


def plain_facts(folder: Path, base: str, made: str, relation: str = "finetune") -> Facts:
    """Facts of a folder outside a run: its base, its licence, and the note beside it.

    Args:
        base: the folder, name or hub id that it was made from; empty where that is not known.
        made: the command that made it, without the places of files.
    """
    said = metadata_of(Path(base) / README) if base else {}
    languages = said.get("language") or []
    note = folder / "langraft.json"
    record = dict(read_json(note)) if note.is_file() else {}
    bits = record.get("bits_per_byte")
    measured: dict[str, Sequence[Sequence[str]]] = {}
    if isinstance(bits, Mapping):
        measured["Bits per byte"] = [list(bits), [f"{value:.4f}" for value in bits.values()]]
    return Facts(
        title=folder.resolve().name,
        base=Path(base).name,
        base_id=base_id(base) or str(said.get("base_model") or ""),
        relation=relation if base_id(base) else "finetune",
        languages=[languages] if isinstance(languages, str) else list(languages),
        licence=licence_of(base),
        measured=measured,
        commands=[made] if made else [],
    )


def base_id(base: str) -> str:
    """The base's id on the hub; empty where that is not known."""
    if base in BASES:
        return BASES[base].hub
    named = base.count("/") == 1 and not base.startswith((".", "/")) and not Path(base).exists()
    return base if named else ""


def licence_of(base: str) -> Licence:
    """What is known of the base's licence: by the card in its folder, our table of bases, or the
    card that the hub's cache holds.
    """
    if not base:
        return Licence()
    if (Path(base) / README).is_file():
        return licence_in(Path(base) / README, f"the card of {Path(base).name}")
    if base in BASES:
        return Licence({"license": BASES[base].licence.lower()}, f"{BASES[base].hub}'s card")
    if not base_id(base):
        return Licence()
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(base, README)
    return licence_in(Path(cached), f"{base}'s card") if isinstance(cached, str) else Licence()


def facts_of_checkpoint(run: Path, stage: str, out: Path, step: int) -> Facts:
    """Facts of a checkpoint of a stage that is still training."""
    facts = _facts_of_stage(run / stage)
    note = f"Taken at step {step} of {stage}, which was still training; it was not scored."
    command = f"langraft checkpoint export RUN --stage {stage.removeprefix('pretrain-')}"
    return dataclasses.replace(
        facts,
        title=f"{facts.title} at step {step}",
        notes=[*facts.notes, note],
        commands=[*facts.commands, f"{command} --step {step} --out {out.name}"],
    )


def _facts_of_stage(folder: Path) -> Facts:
    run, name = folder.parent, folder.name
    recipe = yaml.safe_load((run / RECIPE).read_text(encoding="utf-8"))
    stages = _before(run, name)
    base = str(recipe.get("base") or "")
    language = (recipe.get("language") or {}).get("code")
    sources = (recipe.get("corpus") or {}).get("sources") or []
    others = [source["language"] for source in sources if source["language"] != language]
    measured, notes = _measured(stages, run, name)
    last = list(stages.values())[-1:]
    return Facts(
        title=f"{recipe['name']}: {name}",
        base=Path(base).name,
        base_id=base_id(base),
        relation="quantized" if name == "export" else "finetune",
        languages=list(dict.fromkeys([*([language] if language else []), *others])),
        licence=licence_of(base),
        library="gguf" if name == "export" else "transformers",
        task="text-classification" if name in _rewards(recipe) else "text-generation",
        summary=_summary(stages),
        measured=measured,
        notes=notes,
        made=_made(run, stages),
        commands=[f"langraft run {RECIPE} --until {name}"],
        recipe=yaml.safe_dump(_placeless(recipe), allow_unicode=True, sort_keys=False),
        machine=_machine(last[0]) if last else "",
    )


def _rewards(recipe: Mapping[str, Any]) -> set[str]:
    """The stages that leave a reward model."""
    align = recipe.get("align") or ()
    return {f"align-{stage['name']}" for stage in align if stage["method"] == "reward"}


def _before(run: Path, name: str) -> dict[str, dict[str, Any]]:
    """The manifests of the stages that led to this one, itself last."""
    twin = name.startswith("twin-")
    recipe = yaml.safe_load((run / RECIPE).read_text(encoding="utf-8"))
    prefix = "twin-" if twin else "pretrain-"
    order = ["corpus", "tokenizer", *([] if twin else ["graft"])]
    order += [f"{prefix}{stage['name']}" for stage in recipe.get("pretrain") or ()]
    order += ["sft", *(f"align-{stage['name']}" for stage in recipe.get("align") or ()), "export"]
    order = order[: order.index(name) + 1] if name in order else [name]
    found = {stage: read_manifest(run / stage) for stage in order}
    return {stage: manifest for stage, manifest in found.items() if manifest is not None}


def _summary(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    found = []
    graft = stages.get("graft", {}).get("results", {})
    if graft.get("added_rows"):
        found.append(
            f"Its vocabulary grew by {graft['added_rows']:,} pieces, whose rows were started by "
            f"`{graft['method']}`."
        )
    trained = [
        f"{manifest['results']['tokens']:,} tokens ({name})"
        for name, manifest in stages.items()
        if "tokens" in manifest["results"] and name.startswith(TRAINED)
    ]
    return [*found, *([f"It was trained on {', '.join(trained)}."] if trained else [])]


def _measured(
    stages: Mapping[str, Mapping[str, Any]], run: Path, name: str
) -> tuple[dict[str, Sequence[Sequence[str]]], list[str]]:
    """Tables of what was measured up to a stage, and what to know of them."""
    tables: dict[str, Sequence[Sequence[str]]] = {}
    notes: list[str] = []
    bits = dict(stages.get("graft", {}).get("results", {}).get("bits", {}))
    scored = [n for n, manifest in stages.items() if n.startswith(("pretrain-", "twin-"))]
    if scored and stages[scored[-1]]["results"].get("bits"):
        bits["here"] = stages[scored[-1]]["results"]["bits"]
        if scored[-1] != name:
            notes.append(
                f"Bits per byte are those after {scored[-1]}; later stages were not scored."
            )
    if bits:
        tables["Bits per byte on held-out text (lower is better)"] = _bits_table(bits)
    spelt = stages.get("tokenizer", {}).get("results", {}).get("tokens_per_character", {})
    if spelt:
        rows = [(s, f"{v['base']:.3f}", f"{v['extended']:.3f}") for s, v in spelt.items()]
        tables["Tokens per character"] = [("text", "base", "this model"), *rows]
    evaluated = read_manifest(run / "eval")
    if evaluated is not None and Path(evaluated["results"]["model"]).name == name:
        results = evaluated["results"]
        if results.get("suites"):
            lines = [(suite_line(suite),) for suite in results["suites"]]
            tables["Benchmarks, base to this model"] = [("score",), *lines]
        if results.get("targets"):
            tables["Targets of the recipe"] = _targets_table(results["targets"])
    for stage, manifest in stages.items():
        if stage == "sft" or stage.startswith("align-"):
            plain = {k: v for k, v in manifest["results"].items() if k != "samples"}
            notes += [f"{line}." for line in tuned_lines(stage, plain)]
    return tables, notes


def _bits_table(bits: Mapping[str, Mapping[str, float]]) -> Sequence[Sequence[str]]:
    columns = [column for column in COLUMNS if column in bits]
    head = ("text", *(COLUMNS[column] for column in columns), "change")
    rows = []
    for source in bits[columns[0]]:
        values = [bits[column][source] for column in columns]
        change = values[-1] / values[0] - 1
        rows.append((source, *(f"{value:.3f}" for value in values), f"{change:+.1%}"))
    return [head, *rows]


def _targets_table(targets: Sequence[Mapping[str, Any]]) -> Sequence[Sequence[str]]:
    rows = []
    for target in targets:
        form = "+.1%" if target.get("percent") else ".2f"
        met = "met" if target["met"] else "missed"
        rows.append((target["name"], f"{target['value']:{form}}", f"{target['limit']:{form}}", met))
    return [("target", "reached", "wanted", ""), *rows]


def _made(run: Path, stages: Mapping[str, Mapping[str, Any]]) -> Sequence[Sequence[str]]:
    rows = [
        (name, f"{manifest['seconds']:,.0f}", f"`{sha256_file(run / name / MANIFEST)}`")
        for name, manifest in stages.items()
    ]
    recipe = ("recipe", "", f"`{sha256_file(run / RECIPE)}`")
    return [("stage", "seconds", "sha256 of its manifest"), recipe, *rows]


def _machine(manifest: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())
    return f"On {manifest['device']}; {versions}."


def _placeless(value: Any) -> Any:
    """The recipe without the folders of whoever ran it: of absolute paths the last part is left."""
    if isinstance(value, dict):
        return {key: _placeless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_placeless(item) for item in value]
    if isinstance(value, str) and value.startswith("/"):
        return f".../{Path(value).name}"
    return value
