"""A model card: `README.md` with Hugging Face's metadata, what was measured, how it was made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from langraft.core.io import write_atomic

README = "README.md"
FENCE = "---"
LICENCE_KEYS = ("license", "license_name", "license_link")
UNKNOWN = "unknown"  # one of the hub's own identifiers
Table = Sequence[Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Licence:
    """What the base's card says of its licence, as its metadata; empty where nobody said.

    Attributes:
        source: where that was read.
    """

    keys: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = ""

    @property
    def words(self) -> str:
        """For people."""
        if not self.keys:
            return (
                "Unknown: neither the base's folder nor its card says it. Find out what the base's "
                "licence allows before you share or use this model."
            )
        name = self.keys.get("license_name") or self.keys["license"]
        link = self.keys.get("license_link")
        return f"`{name}`{f' ({link})' if link else ''}, carried over from {self.source}."


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a card says; whatever is empty is left out, or said to be unknown.

    Attributes:
        title: the model's name.
        base, base_id: the base for people, and its id on the hub where it has one.
        relation: to the base, in the hub's words: finetune, quantized, merge, adapter.
        languages: codes, the new one first.
        library: transformers or gguf.
        task: in the hub's words.
        summary: sentences on what was done to the base.
        measured: tables by title, a header row first.
        notes: what a reader of those tables must know.
        made: rows of stage, seconds, manifest's sha256; a header row first.
        commands: that make it again.
        recipe: as YAML, without the places of files.
        machine: device and versions.
    """

    title: str
    base: str
    base_id: str
    relation: str
    languages: Sequence[str]
    licence: Licence
    library: str = "transformers"
    task: str = "text-generation"
    summary: Sequence[str] = ()
    measured: Mapping[str, Table] = dataclasses.field(default_factory=dict)
    notes: Sequence[str] = ()
    made: Table = ()
    commands: Sequence[str] = ()
    recipe: str = ""
    machine: str = ""


def metadata_of(path: Path) -> dict[str, Any]:
    """The metadata of the card at `path`; nothing where there is none that can be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    parts = text.split(f"{FENCE}\n", 2)
    if len(parts) < 3 or parts[0].strip():
        return {}
    try:
        found = yaml.safe_load(parts[1])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def licence_in(path: Path, source: str) -> Licence:
    """The licence that the card at `path` states."""
    found = metadata_of(path)
    keys = {key: str(found[key]) for key in LICENCE_KEYS if found.get(key)}
    return Licence(keys, source) if keys.get("license", UNKNOWN) != UNKNOWN else Licence()


def write_card(folder: Path, facts: Facts) -> Path:
    """Write the card into a model's folder; one that is there is replaced.

    Raises:
        RunFailed: the system refuses to write.
    """
    path = folder / README
    write_atomic(path, card_text(facts))
    return path


def card_text(facts: Facts) -> str:
    """The whole file."""
    parts = [
        f"{FENCE}\n{_metadata(facts)}{FENCE}",
        f"# {facts.title}",
        " ".join([f"{_base_words(facts)}, made with langraft.", *facts.summary]),
        "## Licence",
        facts.licence.words,
        "## Measured",
        *_measured(facts),
        "## How it was made",
        *_how(facts),
    ]
    return "\n\n".join(parts) + "\n"


def table(rows: Table) -> str:
    """Rows as Markdown, the first one above the line."""
    head, *rest = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _metadata(facts: Facts) -> str:
    found: dict[str, Any] = {"library_name": facts.library, "pipeline_tag": facts.task}
    if facts.languages:
        found["language"] = list(facts.languages)
    found |= dict(facts.licence.keys) or {"license": UNKNOWN}
    if facts.base_id:
        found |= {"base_model": facts.base_id, "base_model_relation": facts.relation}
    found["tags"] = ["langraft"]
    return str(yaml.safe_dump(found, sort_keys=False, allow_unicode=True))


def _base_words(facts: Facts) -> str:
    if facts.base_id:
        return f"From [{facts.base_id}](https://huggingface.co/{facts.base_id})"
    return (
        f"From `{facts.base}` (a base whose id on the hub is not known)"
        if facts.base
        else ("From a base that the folder does not name")
    )


def _measured(facts: Facts) -> list[str]:
    if not facts.measured:
        return ["Nothing was measured on this model.", *facts.notes]
    found: list[str] = []
    for title, rows in facts.measured.items():
        found += [f"**{title}**", table(rows)]
    return [*found, *facts.notes]


def _how(facts: Facts) -> list[str]:
    found = []
    if facts.commands:
        found.append("```sh\n" + "\n".join(facts.commands) + "\n```")
    if facts.made:
        found.append(table(facts.made))
    if facts.machine:
        found.append(facts.machine)
    if facts.recipe:
        found.append(f"The recipe, places of files left out:\n\n```yaml\n{facts.recipe}```")
    return found or ["Nothing is recorded of it."]
