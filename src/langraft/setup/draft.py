"""A commented recipe from five answers: written only when it loads, and a plan of it fits."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import yaml

from langraft.core.errors import BadInput
from langraft.core.io import disk_errors, write_atomic
from langraft.corpus.rules import TABLES
from langraft.plan import plan_recipe
from langraft.recipe import Recipe
from langraft.recipe.training import LINEAR_LAYERS
from langraft.setup.answers import GOALS, Answers
from langraft.setup.numbers import LORA_RATE, SEEN, Numbers, Way, numbers_of, ways
from langraft.setup.survey import Body
from langraft.tokenizer.encoder import load_encoder

MAIN = "knowledge"
PROMPTS, PROMPT_CHARACTERS = 2, 24
GIB = 2.0**30


@dataclasses.dataclass(frozen=True)
class Written:
    """The file, the recipe in it, the plan of it, and tokens per character of the base on the
    folder's text (None where the base is not at hand).
    """

    path: Path
    recipe: Recipe
    plan: dict[str, Any]
    per_character: float | None


def write_recipe(answers: Answers, out: Path) -> Written:
    """Write the recipe to `out`.

    Raises:
        BadInput: `out` exists, there is too little text, or nothing fits the hardware.
        RunFailed: the system refuses to write.
    """
    refuse_existing(out)
    root = out.resolve().parent
    numbers, shown = numbers_of(answers), per_character(answers)
    needed: dict[str, Any] = {}
    for way in ways(numbers, answers.hardware.devices):
        text = recipe_text(answers, numbers, way, name_of(out), root, shown)
        recipe = Recipe.model_validate(yaml.safe_load(text))
        found = plan_recipe(recipe, root, answers.hardware.machine)
        if all(stage["fits"] for stage in found["stages"]):
            with disk_errors(out):
                root.mkdir(parents=True, exist_ok=True)
            write_atomic(out, text)
            return Written(out, recipe, found, shown)
        needed = max(found["stages"], key=lambda stage: stage["memory"]["total"])
    fewest = needed["fewest_devices"]
    raise BadInput(
        f"{answers.base.name} on {answers.hardware.devices} x {answers.hardware.device.title}: "
        f"even an adapter with everything computed again needs "
        f"{needed['memory']['total'] / GIB:,.1f} GiB on a device that has "
        f"{answers.hardware.device.memory / GIB:,.1f}; take "
        + (f"{fewest} of them, " if fewest else "")
        + "larger devices or a smaller base"
    )


def refuse_existing(out: Path) -> None:
    """See that nothing is overwritten.

    Raises:
        BadInput: the file is there.
    """
    if out.exists():
        raise BadInput(f"{out}: is there already, and init overwrites nothing; name another: --out")


def name_of(out: Path) -> str:
    """What the recipe in this file is called."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", out.stem.lower()).lstrip("._-")
    return plain or "recipe"


def per_character(answers: Answers) -> float | None:
    """Tokens that the base spends on a character of the new language's text."""
    if answers.base.place is None:
        return None
    texts = [text for body in answers.data.new for text in body.sample]
    spelt = load_encoder(answers.base.place).encode_batch(texts)
    return sum(map(len, spelt)) / max(sum(map(len, texts)), 1)


def recipe_text(
    answers: Answers, numbers: Numbers, way: Way, name: str, root: Path, shown: float | None
) -> str:
    """The file, comments and all."""
    tongue = answers.tongue
    parts = [
        _head(answers, name, shown),
        f"name: {name}",
        "seed: 17",
        f"base: {_quoted(_near(answers.base.name, root))}",
        f"language: {{code: {tongue.code}, scripts: [{', '.join(tongue.scripts)}]}}",
        *_corpus(answers, numbers, root),
        *_vocabulary(answers, numbers),
        *_stages(answers, numbers, way),
        *_forgetting(answers),
        *(_tuning(answers, numbers, way, root) if answers.goal == "chat" else ()),
        *_measured(answers, numbers),
        f"hardware: {{devices: {'cpu' if answers.hardware.name == 'cpu' else 'auto'}, "
        f"precision: auto, checkpointing: {way.checkpointing}}}"
        "   # what fits with the least computed twice, by `langraft plan`",
    ]
    return "\n".join(parts) + "\n"


def _head(answers: Answers, name: str, shown: float | None) -> str:
    data, hardware = answers.data, answers.hardware
    device = hardware.name if hardware.devices == 1 else f"{hardware.name} --devices"
    device += f" {hardware.devices}" if hardware.devices > 1 else ""
    spends = (
        f"It spends {shown:.2f} tokens on a character of this text."
        if shown is not None
        else "Its tokenizer was not at hand, so it has not been tried on this text."
    )
    lines = [
        f"{answers.base.name} learns {answers.tongue.code}; goal: {answers.goal} "
        f"({GOALS[answers.goal]}).",
        f"The base has {answers.base.shape.parameters / 1e6:,.0f} million parameters. {spends}",
        *(f"{_body_words(body)}" for body in (*data.new, *data.old)),
        *(f"Left out: {_body_words(body)}" for body in data.others),
        *(f"Not readable: {why}" for why in list(data.unread.values())[:3]),
        "",
        f"  langraft plan {name}.yaml --device {device}",
        *_commands(name, hardware.devices),
    ]
    return "\n".join(f"# {line}".rstrip() for line in lines)


def _commands(name: str, devices: int) -> list[str]:
    if devices == 1:
        return [f"  langraft run {name}.yaml"]
    torchrun = f"torchrun --nproc-per-node {min(devices, 8)} -m langraft train"
    return [
        f"  langraft run {name}.yaml --out runs/{name} --until graft",
        f"  {torchrun} {name}.yaml --stage STAGE --out runs/{name}   (each stage below in turn)",
        f"  langraft run {name}.yaml --out runs/{name}               (what is left)",
    ]


def _body_words(body: Body) -> str:
    scripts = ", ".join(f"{script} {share:.0%}" for script, share in body.scripts.items())
    return (
        f"{body.language}: {len(body.files)} files, {body.size / 1e6:,.2f} MB of text "
        f"({scripts or 'no letters'})"
    )


def _corpus(answers: Answers, numbers: Numbers, root: Path) -> list[str]:
    tongue, data = answers.tongue, answers.data
    lines = ["corpus:", "  sources:"]
    names: set[str] = set()
    for body in (*data.new, *data.old):
        language = tongue.code if body in data.new else body.language
        name = language if language not in names else f"{language}-{body.text_key}".lower()
        names.add(name)
        bucket = "knowledge" if body in data.new else "replay"
        paths = ", ".join(_quoted(path) for path in data.paths(body, root))
        key = "" if body.text_key == "text" else f", text_key: {body.text_key}"
        lines.append(
            f"    - {{name: {name}, paths: [{paths}], language: {language}, bucket: {bucket}{key}}}"
        )
    if not data.old:
        lines.append(
            "    # No text of the base's own language was found: what it forgets cannot be measured"
            " or held. Add a source."
        )
    rules = tongue.code if tongue.code in TABLES else "any"
    near = "exact: true" if answers.goal == "try" else "exact: true, minhash: {}"
    return [
        *lines,
        "  clean: {normalise: nfkc}",
        f"  rules: {rules}                  # thresholds with their sources: docs/corpus.md",
        f"  dedup: {{{near}}}",
        f"  holdout: {{bytes: {numbers.holdout:_}}}   # of each source, never trained on; a tenth "
        "of the smallest, 200,000 at most",
    ]


def _vocabulary(answers: Answers, numbers: Numbers) -> list[str]:
    if numbers.keep:
        return [
            "# Latin letters are the base's own: new pieces would change how its language is read.",
            "tokenizer: {method: keep}",
            "graft: {init: subtoken-mean}    # nothing to start where nothing is added",
        ]
    if numbers.size == "auto":
        why = "# a sweep over the text decides; it may find that none are worth it"
    else:
        why = f"# as the quickstart; fewer where a piece would be seen under {SEEN} times"
    lines = [f"tokenizer: {{method: continued-bpe, size: {numbers.size}, pad_to: 64}}   {why}"]
    if answers.goal == "try":
        small = "positions: 24_000, depth: 8, steps: 90, output_positions: 50_000"
        depth = min(8, answers.base.shape.layers)
        small = small.replace("depth: 8", f"depth: {depth}")
        return [
            *lines,
            f"graft: {{init: distil, distil: {{{small}}}}}   # the quickstart's, old text read too",
        ]
    depth = min(8, answers.base.shape.layers)
    return [*lines, f"graft: {{init: distil, distil: {{depth: {depth}}}}}"]


def _mix(answers: Answers, old_share: float) -> str:
    if not old_share:
        return f"{{{answers.tongue.code}: 1.0}}"
    old = answers.data.old[0].language
    return f"{{{answers.tongue.code}: {round(1 - old_share, 3)}, {old}: {old_share}}}"


def _stages(answers: Answers, numbers: Numbers, way: Way) -> list[str]:
    mix = _mix(answers, numbers.old_share)
    shape = f"batch_tokens: {numbers.batch:_}, row_tokens: {numbers.row:_}"
    lines = ["pretrain:"]
    if numbers.rows_tokens:
        lines += [
            f"  - {{name: rows, train: new-rows, tokens: {numbers.rows_tokens:_}, lr: 1.0e-3, "
            f"epochs: {numbers.epochs:g}, {shape}, micro_rows: {way.micro_rows}, mix: {mix}}}"
            "   # the new rows first, as RedWhale and Jais did",
        ]
    rate = f"{LORA_RATE if way.train == 'lora' else numbers.lr:.1e}"
    lora = way.train == "lora"
    source = "Chinese-LLaMA-2's" if lora else "the quickstart's, and Colossal-LLaMA-2's"
    if numbers.lr > 1e-4 and not lora:
        source = "that of recipes/smollm2-135m-zh.yaml"
    return [
        *lines,
        f"  - name: {MAIN}",
        f"    train: {way.train}"
        + ("                  # all weights would not fit" if lora else ""),
        *(
            [
                f"    lora: {{rank: 64, alpha: 128, dropout: 0.05, targets: "
                f"[{', '.join(LINEAR_LAYERS)}], embeddings: {str(not numbers.keep).lower()}}}"
            ]
            if lora
            else []
        ),
        f"    tokens: {numbers.tokens:_}         # "
        + (
            "enough to see it work" if answers.goal == "try" else "the text once, counted with care"
        ),
        f"    epochs: {numbers.epochs:g}                  # a text is read at most so often; a "
        "budget that needs more is refused",
        f"    lr: {rate}                 # {source}",
        f"    mix: {mix}   # the old language keeps the base from forgetting it",
        f"    batch_tokens: {numbers.batch:_}",
        f"    row_tokens: {numbers.row:_}",
        f"    micro_rows: {way.micro_rows}             # rows in memory at one time",
        *(["    warmup: 0.2", "    decay: 0.6"] if answers.goal == "try" else []),
        f"    evaluate: {1 if answers.goal == 'try' else 10}",
    ]


def _forgetting(answers: Answers) -> list[str]:
    action = "raise-replay" if answers.data.old and answers.goal != "try" else "warn"
    return [
        f"forgetting: {{max_rise: 0.03, on_breach: {action}}}   # bits per byte of the old "
        "language may rise by 3 %"
    ]


def _tuning(answers: Answers, numbers: Numbers, way: Way, root: Path) -> list[str]:
    """Instruction tuning on the conversations in the folder.

    Raises:
        BadInput: there are none.
    """
    talks = answers.data.talks
    if not talks:
        raise BadInput(
            f"data {str(answers.data.folder)!r}: goal chat needs conversations, and no file there "
            "holds any; put some beside the text (Alpaca, ShareGPT, messages: see docs/tuning.md), "
            "or take the goal read"
        )
    row = min(numbers.row, 1_024)
    paths = ", ".join(_quoted(_near(str(path), root)) for path in talks)
    batch = max(16_384 // (row * answers.hardware.devices), 1) * row * answers.hardware.devices
    embeddings = "true" if not numbers.keep else "false"
    return [
        "sft:",
        f"  data: [{paths}]",
        "  template: alpaca             # needs no token of its own; docs/tuning.md has the others",
        "  train: lora",
        f"  lora: {{rank: 64, alpha: 128, dropout: 0.05, embeddings: {embeddings}}}   "
        "# Chinese-Alpaca-2's",
        "  lr: 1.0e-4",
        "  schedule: cosine",
        "  warmup: 0.03",
        "  decay: 0.0",
        f"  row_tokens: {row:_}",
        f"  batch_tokens: {batch:_}",
        f"  micro_rows: {min(way.micro_rows, batch // row)}",
        "  holdout: 0.02                # of the conversations; the loss on them is measured",
    ]


def _measured(answers: Answers, numbers: Numbers) -> list[str]:
    cut = [" ".join(t.split())[:PROMPT_CHARACTERS] for t in answers.data.new[0].sample if t.strip()]
    prompts = ", ".join(_quoted(text) for text in cut[:PROMPTS])
    return [
        "eval:",
        "  window: 512",
        "  max_bytes: 16_000",
        *(["  fewer_tokens: 1.0            # the vocabulary stays"] if numbers.keep else []),
        f"  prompts: [{prompts}]   # beginnings of two documents, continued by both models",
    ]


def _quoted(text: str) -> str:
    """A YAML string: plain where that is safe, else as JSON writes it, which YAML reads alike."""
    if re.fullmatch(r"[A-Za-z0-9_./][A-Za-z0-9_./-]*", text) and not re.fullmatch(r"[\d.]+", text):
        return text
    return json.dumps(text, ensure_ascii=False)


def _near(name: str, root: Path) -> str:
    """An absolute path below the recipe's folder as it is seen from there."""
    place = Path(name)
    if place.is_absolute() and root in place.parents:
        return str(place.relative_to(root))
    return name
