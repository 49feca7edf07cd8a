"""What the stages of instruction tuning and alignment share: the model they start from, their data,
and the model folder they leave.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from langraft.checkpoint.folder import load_model, load_tokenizer
from langraft.core.errors import BadInput
from langraft.core.io import read_json, sha256_file, sha256_json, write_atomic, write_json
from langraft.core.manifest import Stage, outputs_digest
from langraft.core.messages import say, warn
from langraft.core.metrics import MetricsLog
from langraft.data.checks import read_all
from langraft.data.conversations import ASSISTANT, USER, Conversation, Message
from langraft.data.encode import Renderer
from langraft.data.objects import Unfit, data_files
from langraft.data.preferences import Preference, read_preferences
from langraft.data.tidy import cleaned, without_duplicates
from langraft.pipeline.probe import TOKENS, Probe
from langraft.pipeline.run import Run
from langraft.pipeline.training import (
    new_rows_of,
    place_of,
    settings_of,
    training_stage,
    write_learnt,
)
from langraft.recipe import DataSet, Dpo, OnPolicy, Pairs, Sft
from langraft.train.critic import policy_weights
from langraft.train.precision import Device
from langraft.train.sampling import OwnSampler
from langraft.train.stage import Task, train_stage

UNFIT = "unfit.jsonl"
TOKENIZER_SETTINGS = "tokenizer_config.json"


@dataclasses.dataclass(frozen=True)
class Tuning:
    """One stage that teaches conversations, at work.

    Attributes:
        name: the stage's.
        key: how messages call its section of the recipe.
        source: the folder of the model it starts from.
        renderer: its template on that model's tokenizer.
    """

    this: Run
    name: str
    key: str
    source: Path
    renderer: Renderer

    @property
    def new_rows(self) -> tuple[int, int]:
        """See `new_rows_of`."""
        return new_rows_of(self.this, self.source)

    def teach(
        self,
        stage: Sft | Dpo | OnPolicy,
        model: PreTrainedModel,
        task: Task,
        folder: Path,
        log: MetricsLog,
        evaluate: Callable[[int, int], float | None],
    ) -> dict[str, Any]:
        """Train `model` in place and leave it in `folder` as a chat model.

        Returns:
            the loop's numbers, and as `samples` the answers before and after.
        """
        this, prompts = self.this, stage.prompts
        probe = Probe(model, self.renderer, prompts, place_of(this))
        measured = [probe.measure(model)]
        before = after = probe.texts

        def watch(step: int, tokens: int) -> float | None:
            factor = evaluate(step, tokens)
            measured.append(probe.measure(model))
            if this.ranks.lead and prompts:
                log.write(step, tokens=tokens, answers=measured[-1])
            return factor

        done = train_stage(model, task, stage, place_of(this), folder, log, watch)
        if this.ranks.lead:
            write_learnt(self.source, policy_weights(done.weights), stage, folder)
            write_template(self.renderer, folder)
            after = answers(load_model(folder), self.renderer, prompts, Device("cpu", False))
        sides = zip(prompts, before, after, strict=True)
        return {
            **done.numbers,
            "samples": [{"prompt": p, "before": a, "after": b} for p, a, b in sides],
            "answers": {"before": measured[0], "after": measured[-1]},
        }


def tuning_stage(
    this: Run,
    name: str,
    stage: Sft | Pairs | OnPolicy,
    learn: Callable[[Path, Tuning], dict[str, Any]],
    scratch: tuple[str, ...] = (),
    inputs: Mapping[str, str] | None = None,
) -> Stage:
    """The model so far -> what a stage of instruction tuning or alignment makes of it.

    Args:
        learn, scratch: see `training_stage`.
        inputs: what the stage reads besides the model and its data.

    Raises:
        BadInput: the folder holds checkpoints made with other settings or inputs.
    """
    before, source = model_so_far(this, name)
    key = name if name == "sft" else f"align ({stage.name})"

    def work(folder: Path) -> dict[str, Any]:
        renderer = renderer_of(source, stage.template, key)
        return learn(folder, Tuning(this, name, key, source, renderer))

    read = {"model": model_digest_of(this, before), "data": data_digest(this, stage.data)}
    read |= inputs or {}
    return training_stage(this, name, settings_of(this, stage), read, work, scratch)


def model_so_far(this: Run, before: str) -> tuple[str, Path]:
    """The last stage before `before` that left a language model ("" is the base), and the model's
    folder.
    """
    names = this.stages()
    reward = {f"align-{stage.name}" for stage in this.recipe.align if stage.method == "reward"}
    left = [
        name
        for name in names[: names.index(before)]
        if name in ("graft", "sft") or name.startswith(("pretrain-", "align-"))
        if name not in reward
    ]
    return (left[-1], this.out / left[-1]) if left else ("", this.base)


def model_digest_of(this: Run, stage: str) -> str:
    """What stands for that model among a stage's inputs."""
    return outputs_digest(this.manifest(stage)) if stage else this.base_digest


def data_digest(this: Run, sets: Sequence[DataSet]) -> str:
    """One sha256 over all files of some data sets."""
    files = [path for one in sets for path in data_files(one.paths, this.root)]
    return sha256_json([sha256_file(path) for path in files])


def conversations_of(this: Run, one: DataSet) -> Iterator[Conversation | Unfit]:
    """The conversations of a data set, preferences made into some, cleaned, and without duplicates,
    where it says so.
    """
    if one.clean is None and one.dedup is None:
        yield from _read(this, one)
        return
    found = list(_read(this, one))
    yield from (record for record in found if isinstance(record, Unfit))
    kept = [record for record in found if not isinstance(record, Unfit)]
    if one.clean is not None:
        kept = cleaned(kept, one.clean)
    if one.dedup is not None:
        read, kept = len(kept), without_duplicates(kept, one.dedup)
        if this.ranks.lead:
            say(
                f"{', '.join(one.paths)}: {read - len(kept)} of {read} conversations are duplicates"
            )
    yield from kept


def _read(this: Run, one: DataSet) -> Iterator[Conversation | Unfit]:
    files = data_files(one.paths, this.root)
    if one.reads == "conversations":
        yield from read_all(files, one.layout, one.min_score)
        return
    for number, found in enumerate(found for path in files for found in read_preferences(path)):
        if isinstance(found, Unfit):
            yield found
        elif one.reads == "preferred":
            messages = (*found.messages, Message(ASSISTANT, found.chosen))
            yield Conversation(messages, found.path, found.line)
        else:
            yield Conversation(
                hindsight(found, number % 2 == 0, one.feedback), found.path, found.line
            )


def hindsight(pair: Preference, good_first: bool, feedback: tuple[str, str]) -> tuple[Message, ...]:
    """Both answers in one conversation, each behind what is said of it, `feedback`'s first of the
    good one; only answers are learnt (chain of hindsight, arXiv 2302.02676).
    """
    question = pair.messages[-1].content
    told = [(feedback[0], pair.chosen), (feedback[1], pair.rejected)]
    first, second = told if good_first else told[::-1]
    return (
        *pair.messages[:-1],
        Message(USER, f"{question}\n{first[0]}"),
        Message(ASSISTANT, first[1]),
        Message(USER, second[0]),
        Message(ASSISTANT, second[1]),
    )


def refuse_unfit(
    unfit: Sequence[Unfit], total: int, most: float, folder: Path, key: str, lead: bool
) -> None:
    """Write down every unfit record, and refuse the data when there are too many.

    Raises:
        BadInput: more than the share `most` is unfit.
    """
    if not unfit:
        return
    if lead:
        lines = [json.dumps(record._asdict(), ensure_ascii=False) for record in unfit]
        write_atomic(folder / UNFIT, "\n".join(lines) + "\n")
    share = len(unfit) / total
    if share > most:
        raise BadInput(
            f"{key}: {len(unfit)} of {total} records cannot be learnt from ({share:.1%}, and "
            f"max_unfit is {most:.1%}); the first: {unfit[0]}"
        )
    warn(f"{key}: {len(unfit)} records left out, listed in {UNFIT}; the first: {unfit[0]}")


def renderer_of(model: Path, template: str, key: str) -> Renderer:
    """The renderer of a stage's template on a model's tokenizer.

    Raises:
        BadInput: see `Renderer`; the key is named.
    """
    try:
        return Renderer(template, load_tokenizer(model))
    except BadInput as error:
        raise BadInput(f"{key}.template: {error}") from error


def write_template(renderer: Renderer, out: Path) -> None:
    """Make the model folder `out` carry the template, and end answers where the template does."""
    write_atomic(out / "chat_template.jinja", renderer.chat_template)
    settings = tokenizer_settings(out)
    if settings.pop("chat_template", None) is not None:
        write_json(out / TOKENIZER_SETTINGS, settings)
    path = out / "generation_config.json"
    if path.exists():
        generation = read_json(path)
        ends = generation.get("eos_token_id")
        known = ends if isinstance(ends, list) else [] if ends is None else [ends]
        merged = list(dict.fromkeys([renderer.end_id, *known]))
        write_json(path, generation | {"eos_token_id": merged[0] if len(merged) == 1 else merged})


def tokenizer_settings(folder: Path) -> dict[str, Any]:
    """What a folder's `tokenizer_config.json` says; a bare `tokenizer.model` has none."""
    path = folder / TOKENIZER_SETTINGS
    return dict(read_json(path)) if path.exists() else {}


def answers(
    model: PreTrainedModel, renderer: Renderer, prompts: Sequence[str], device: Device
) -> list[str]:
    """The model's greedy answer to each question."""
    if not prompts:
        return []
    sampler = OwnSampler(model, device, renderer.end_id, TOKENS, temperature=0.0)
    asked = [renderer.prompt([Message(USER, prompt)]) for prompt in prompts]
    found = sampler(asked, [0] * len(asked))
    return list(renderer.tokenizer.batch_decode(found, skip_special_tokens=True))


def held_out(key: str, share: float, seed: int) -> bool:
    """Whether a question is set aside: the same answer for the same text, wherever it stands."""
    return int(sha256_json([seed, key])[:8], 16) / 2**32 < share
