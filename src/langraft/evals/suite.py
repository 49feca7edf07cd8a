"""One suite under one protocol, from prompts to a scored summary: killed and started again, it goes
on; on several ranks each takes its share.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from langraft.core.messages import bar
from langraft.evals.judge import judged
from langraft.evals.ledger import Ledger
from langraft.evals.letters import letter_ids
from langraft.evals.memo import Memo
from langraft.evals.plan import Item, Plan, all_rows, make_plan, rows_of, slot_values
from langraft.evals.prefix import (
    Prefix,
    opinions,
    read_padded,
    read_prefix,
    read_rows,
    shares_prefix,
)
from langraft.evals.protocols import PROTOCOLS, Protocol
from langraft.evals.ranks import Ranks
from langraft.evals.rows import Ask, Batch, Group, Row, batches, grouped, share_of
from langraft.evals.suites import Exam
from langraft.evals.summary import Summary, summarise
from langraft.evals.writing import write

BATCH_TOKENS = {"cpu": 4_096, "cuda": 32_768}


@dataclasses.dataclass(frozen=True)
class Reader:
    """A model and its tokenizer, as evaluations use them.

    Attributes:
        window: tokens the model reads at most.
        digest: the sha256 of the model's files.
        share: read common beginnings once.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    window: int
    digest: str
    share: bool = True

    def encode(self, text: str, special: bool) -> list[int]:
        """Ids of a text, with the special tokens that the tokenizer adds by itself or without."""
        return self.encode_batch([text], special)[0]

    def encode_batch(self, texts: list[str], special: bool) -> list[list[int]]:
        """The same for many texts at a time."""
        return list(self.tokenizer(texts, add_special_tokens=special)["input_ids"])

    @property
    def ends(self) -> frozenset[int]:
        """Ids that end a text."""
        named = self.model.generation_config.eos_token_id
        listed = named if isinstance(named, list) else [named]
        return frozenset(i for i in (*listed, self.tokenizer.eos_token_id) if i is not None)

    @property
    def shares(self) -> bool:
        """Whether common beginnings are read once: when asked for and the model allows it."""
        return self.share and shares_prefix(self.model)

    @property
    def batch_tokens(self) -> int:
        """Tokens that are read at one time."""
        return BATCH_TOKENS[next(self.model.parameters()).device.type]


def evaluate(
    reader: Reader, exam: Exam, protocol_name: str, folder: Path, ranks: Ranks | None = None
) -> Summary:
    """Score a suite; every result is on disk as soon as it is known.

    Args:
        folder: where results are kept; results of the same evaluation that lie there are not
            computed again.

    Raises:
        BadInput: the protocol does not fit the suite, or the folder holds another evaluation.
        RunFailed: the model's scores are not numbers.
    """
    ranks = ranks or Ranks()
    protocol = PROTOCOLS[protocol_name]
    plan = make_plan(exam, protocol_name, Memo(reader.encode_batch), reader.window)
    card = card_of(reader, exam, protocol_name, plan)
    ledger = Ledger(folder, card, ranks.rank)
    done = set(ledger.results())
    with bar("questions") as progress:
        task = progress.add_task(f"{exam.suite}, {protocol_name}", total=len(plan.items), note="")
        progress.advance(task, len(done))
        for results in _scored(reader, plan, protocol, done, ranks):
            ledger.add(results)
            progress.advance(task, len(results))
    ranks.wait()
    return summarise(exam, card, [ledger.results()[item.id] for item in plan.items], plan)


def card_of(reader: Reader, exam: Exam, protocol_name: str, plan: Plan) -> dict[str, Any]:
    """Everything that decides the scores, as it is printed with them."""
    protocol, first = PROTOCOLS[protocol_name], plan.items[0]
    card: dict[str, Any] = {
        "suite": exam.suite,
        "split": exam.split,
        "questions": len(plan.items),
        "items": exam.digest(),
        "protocol": protocol_name,
        "rule": protocol.rule,
        "shots": exam.shots,
        "shots chosen": "first" if exam.seed is None else f"seed {exam.seed}",
        "window": reader.window,
        "precision": str(next(reader.model.parameters()).dtype).removeprefix("torch."),
        "model": reader.digest,
        "begins with": reader.tokenizer.decode(list(first.prompt.ids[:1])),
        "prompt": first.prompt.text,
    }
    if protocol.rule in ("max", "sum") and first.how.startswith("letters"):
        found = letter_ids(
            lambda text: reader.encode(text, False), first.question.labels, protocol.rule
        )
        card["letter ids"] = {letter: list(ids) for letter, ids in found.items()}
    return card


def _scored(
    reader: Reader, plan: Plan, protocol: Protocol, done: set[str], ranks: Ranks
) -> Iterator[list[dict[str, Any]]]:
    """Result lines as they come: first what is read, then what is written."""
    scores: dict[int, list[float]] = {}
    both = {n for n, item in enumerate(plan.items) if item.how == "letters+text"}
    for number, values in _read_scores(reader, plan, protocol, done, ranks):
        scores[number] = values
        if number not in both:
            yield [judged(plan.items[number], protocol, values, None)]
    for number, text in _written(reader, plan, protocol, done, ranks):
        # A rank that writes for a combined item has not always read it; then it reads it here.
        item = plan.items[number]
        if number in both and number not in scores:
            scores[number] = _read_one(reader, number, item, protocol)
        yield [judged(item, protocol, scores.get(number), text)]


def _read_scores(
    reader: Reader, plan: Plan, protocol: Protocol, done: set[str], ranks: Ranks
) -> Iterator[tuple[int, list[float]]]:
    rows = all_rows(plan, protocol, Memo(reader.encode_batch))
    keyed = [(plan.items[n].key, row) for n, found in rows.items() for row in found]
    groups = grouped(keyed, reader.shares)
    todo = list(batches(groups, reader.batch_tokens))
    found: dict[int, dict[int, list[float]]] = {}
    mine = _whole_questions(todo, groups, ranks)
    for batch, prefix in _with_prefix(reader.model, groups, mine, plan, done):
        if reader.shares:
            states = read_rows(reader.model, batch.rows, groups[batch.group].prefix, prefix)
        else:
            states = read_padded(reader.model, batch.rows)
        likelihood = protocol.rule == "likelihood"
        for row, values in zip(
            batch.rows, opinions(reader.model, batch.rows, states, likelihood), strict=True
        ):
            place = rows[row.question].index(row)
            found.setdefault(row.question, {})[place] = values
        for number in sorted(batch.questions):
            if number in found and len(found[number]) == len(rows[number]):
                parts = found.pop(number)
                if plan.items[number].id in done:
                    continue
                ordered = [parts[place] for place in range(len(parts))]
                item = plan.items[number]
                yield number, slot_values(item, protocol, rows[number], ordered)


def _whole_questions(todo: Sequence[Batch], groups: Sequence[Group], ranks: Ranks) -> list[Batch]:
    """This rank's batches. Where questions have rows in several batches, whole groups are dealt
    out, so that no question is split between ranks.
    """
    owners: dict[int, set[int]] = {}
    for index, batch in enumerate(todo):
        for question in batch.questions:
            owners.setdefault(question, set()).add(index)
    if all(len(held) == 1 for held in owners.values()):
        return share_of(todo, groups, ranks.rank, ranks.world)
    return [batch for batch in todo if batch.group % ranks.world == ranks.rank]


def _with_prefix(
    model: PreTrainedModel,
    groups: Sequence[Group],
    todo: Sequence[Batch],
    plan: Plan,
    done: set[str],
) -> Iterator[tuple[Batch, Prefix | None]]:
    """The batches that hold something new, each with its group's prefix; one prefix is held at a
    time.
    """
    for index, members in itertools.groupby(todo, key=lambda batch: batch.group):
        prefix = None
        for batch in members:
            if all(plan.items[number].id in done for number in batch.questions):
                continue
            skip = groups[index].prefix
            if prefix is None and skip:
                prefix = read_prefix(model, batch.rows[0].ids[:skip])
            yield batch, prefix


def _read_one(reader: Reader, number: int, item: Item, protocol: Protocol) -> list[float]:
    rows = rows_of(number, item, protocol, Memo(reader.encode_batch))
    states = read_padded(reader.model, rows)
    values = opinions(reader.model, rows, states, protocol.rule == "likelihood")
    return slot_values(item, protocol, rows, values)


def _written(
    reader: Reader, plan: Plan, protocol: Protocol, done: set[str], ranks: Ranks
) -> Iterator[tuple[int, str]]:
    writing = [
        (item.key, Row(n, item.prompt.ids, (Ask(len(item.prompt.ids) - 1, 0, 0),)))
        for n, item in enumerate(plan.items)
        if item.how in ("text", "letters+text")
    ]
    groups = grouped(writing, reader.shares)
    todo = list(batches(groups, reader.batch_tokens))
    mine = share_of(todo, groups, ranks.rank, ranks.world)
    for batch, prefix in _with_prefix(reader.model, groups, mine, plan, done):
        writer = plan.items[batch.rows[0].question].writer
        stops = writer.wording.stop

        def finished(ids: list[int], stops: tuple[str, ...] = stops) -> bool:
            return any(stop in reader.tokenizer.decode(ids) for stop in stops)

        texts = write(
            reader.model,
            [row.ids for row in batch.rows],
            prefix,
            skip=groups[batch.group].prefix,
            new_tokens=writer.subject.new_tokens or protocol.new_tokens,
            ends=reader.ends,
            finished=finished,
        )
        for row, ids in zip(batch.rows, texts, strict=True):
            if plan.items[row.question].id not in done:
                yield row.question, _until(reader.tokenizer.decode(ids), stops)


def _until(text: str, stops: Sequence[str]) -> str:
    """The text before the first of `stops`."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


def brief(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card without its long parts."""
    return {key: value for key, value in card.items() if key not in ("prompt", "items", "model")}
