"""How many pieces are worth their rows: sizes side by side, and a recommendation with a reason."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import read_json
from langraft.core.messages import track
from langraft.tokenizer.compare import measure
from langraft.tokenizer.encoder import Encoder, load_encoder
from langraft.tokenizer.extend import Rules, extended_encoder
from langraft.tokenizer.learn import Candidates
from langraft.tokenizer.pruning import Learned
from langraft.tokenizer.runs import read_corpus
from langraft.tokenizer.scripts import read_scripts

SIZES = (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000)
# A row that is seen less often than this in training stays close to where it began.
SIGHTINGS = 100
# The share of pieces that may be rarer than the one that stands for the rarest: parts of longer
# pieces hardly ever stand alone, and what they cost is a row.
RARE = 0.05
# Fewer tokens by less than this share are not worth a new vocabulary; nor is a doubling of it.
WORTH_IT = 0.10
WORTH_DOUBLING = 0.02
# Training costs three times the forward pass, which is two operations a parameter.
FORWARD, TRAINING = 2, 6


@dataclasses.dataclass(frozen=True)
class Shape:
    """What of a model decides the cost of a row.

    Attributes:
        hidden: width of a row; inner: parameters outside the two vocabulary matrices; tied: whether
            there is one such matrix instead of two.
    """

    hidden: int
    inner: int
    tied: bool

    def parameters(self, rows: int) -> int:
        """All parameters with a vocabulary of `rows`."""
        return self.inner + rows * self.hidden * (1 if self.tied else 2)

    def operations(self, rows: int) -> int:
        """Parameters that one token is multiplied with: looking a row up costs nothing."""
        return self.inner + rows * self.hidden


def read_shape(path: Path) -> Shape:
    """The shape in a Llama-like `config.json`.

    Raises:
        BadInput: the file is missing or lacks a size.
    """
    config = read_json(path)
    try:
        hidden, layers = int(config["hidden_size"]), int(config["num_hidden_layers"])
        heads, wide = int(config["num_attention_heads"]), int(config["intermediate_size"])
    except (KeyError, TypeError) as error:
        raise BadInput(f"{path}: no Llama-like model configuration ({error} is missing)") from error
    size = int(config.get("head_dim") or hidden // heads)
    groups = int(config.get("num_key_value_heads") or heads)
    attention = 2 * hidden * heads * size + 2 * hidden * groups * size
    inner = layers * (attention + 3 * hidden * wide + 2 * hidden) + hidden
    return Shape(hidden, inner, bool(config.get("tie_word_embeddings", False)))


@dataclasses.dataclass(frozen=True)
class Row:
    """One size.

    Attributes:
        size: pieces added; new_rate, old_rate: tokens per character of held-out text in the new and
            in the old language.
        parameters: added; share: of the model before.
        rarest: expected sightings in the training budget of the rarest kept piece but for one in
            twenty.
        saved: share of the new language's tokens that are saved, in training on the same text and
            in every answer.
        flops: training operations on the budget's new-language text; flops_saved: share less than
            with the base's vocabulary.
        break_even: characters of new-language text, read or written after training, whose saving
            has paid for training until the rarest piece was seen SIGHTINGS times; None when
            nothing is saved.
    """

    size: int
    new_rate: float
    old_rate: float
    parameters: int
    share: float
    rarest: float
    saved: float
    flops: float
    flops_saved: float
    break_even: float | None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Every size, the base first (size 0), the recommended size and why."""

    rows: list[Row]
    size: int
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: rows, size, reason."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Held:
    """Text that pieces are not learnt from, in the new and the old language."""

    new: Sequence[str]
    old: Sequence[str]


def sweep(
    base: Path,
    texts: Iterable[str],
    held: Held,
    *,
    rules: Rules,
    shape: Shape,
    budget: int,
    pad_to: int = 1,
    sizes: Sequence[int] = SIZES,
) -> Sweep:
    """Learn once, cut at every size, and count what each costs and saves.

    Args:
        budget: tokens of the new language, in the base's tokens, that training will read: the text
            is the same for every size, its tokens are fewer with more pieces.
        pad_to: the model's rows are a multiple of this.

    Raises:
        BadInput: no held-out text, or sizes that are not positive.
    """
    if not any(held.new):
        raise BadInput("sweep: there is no held-out text in the new language to measure on")
    if not sizes or min(sizes) < 1:
        raise BadInput(f"sizes: {list(sizes)}; give sizes of 1 or more")
    encoder = load_encoder(base)
    corpus = read_corpus(encoder, texts, read_scripts(rules.scripts, mixed=rules.mixed))
    candidates = Candidates.of(corpus, max(sizes), rules.min_frequency, rules.max_piece_characters)
    costs = _Costs(encoder, held, shape, budget, pad_to, corpus.characters)
    rows, learned = [costs.row(encoder, None)], 0
    for size in track(sorted(sizes), "sizes", len(sizes)):
        chosen = candidates.choose(size)
        if len(chosen.pieces) <= learned:
            break
        learned = len(chosen.pieces)
        rows.append(costs.row(extended_encoder(encoder, chosen), chosen))
    size, reason = recommend(rows)
    return Sweep(rows, size, reason)


@dataclasses.dataclass(frozen=True)
class _Costs:
    base: Encoder
    held: Held
    shape: Shape
    budget: int
    pad_to: int
    learnt: int

    @functools.cached_property
    def rate(self) -> float:
        """Tokens per character of the new language with the base's vocabulary."""
        return float(measure(self.base, self.held.new)["tokens_per_character"])

    def row(self, after: Encoder, chosen: Learned | None) -> Row:
        """What `after`, with the pieces `chosen`, costs and saves; None for the base itself."""
        new_rate = float(measure(after, self.held.new)["tokens_per_character"])
        characters = self.budget / self.rate
        rows = after.size if chosen is None else -(-after.size // self.pad_to) * self.pad_to
        now, before = self.shape.operations(rows), self.shape.operations(self.base.size)
        flops = TRAINING * now * characters * new_rate
        least = _rare(chosen) if chosen else 0
        forward = FORWARD * (before * self.rate - now * new_rate)
        needed = SIGHTINGS * self.learnt / least if least else 0.0
        earned = forward > 0 and least > 0
        added = self.shape.parameters(rows) - self.shape.parameters(self.base.size)
        return Row(
            size=0 if chosen is None else len(chosen.pieces),
            new_rate=new_rate,
            old_rate=float(measure(after, self.held.old)["tokens_per_character"]),
            parameters=added,
            share=added / self.shape.parameters(self.base.size),
            rarest=least / self.learnt * characters if least else 0.0,
            saved=1 - new_rate / self.rate,
            flops=flops,
            flops_saved=1 - flops / (TRAINING * before * self.budget),
            break_even=TRAINING * now * needed * new_rate / forward if earned else None,
        )


def _rare(chosen: Learned) -> int:
    """Uses, in the text learnt from, that RARE of the pieces in use stay below.

    The very rarest is nearly always a piece that stands inside longer ones but for one time.
    """
    counts = sorted(count for count in chosen.uses.values() if count)
    return counts[int(RARE * len(counts))] if counts else 0


def recommend(rows: Sequence[Row]) -> tuple[int, str]:
    """The size to take and why; 0 is to keep the base's vocabulary.

    Args:
        rows: the base first, then sizes in rising order.
    """
    tried = rows[1:]
    if not tried:
        return 0, "keep the base vocabulary: the text teaches no pieces"
    seen = [row for row in tried if row.rarest >= SIGHTINGS]
    if not seen:
        found = tried[0]
        return 0, (
            f"keep the base vocabulary: even of {found.size:,} pieces the rarest would be seen "
            f"{found.rarest:.0f} times in this budget, and a row wants {SIGHTINGS} or more"
        )
    chosen = seen[0]
    for row in seen[1:]:
        if 1 - row.new_rate / chosen.new_rate >= WORTH_DOUBLING:
            chosen = row
    if chosen.saved < WORTH_IT:
        return 0, (
            f"keep the base vocabulary: {chosen.size:,} pieces would save {chosen.saved:.1%} of "
            f"the tokens, and less than {WORTH_IT:.0%} does not pay for a new vocabulary"
        )
    later = [row for row in tried if row.size > chosen.size]
    if not later:
        why = "it is the largest that was tried or that the text teaches"
    elif later[0].rarest < SIGHTINGS:
        why = (
            f"of {later[0].size:,} the rarest would be seen {later[0].rarest:.0f} times, less than "
            f"{SIGHTINGS}"
        )
    else:
        gain = 1 - later[-1].new_rate / chosen.new_rate
        why = f"more pieces, up to {later[-1].size:,}, would save only {gain:.1%} further"
    return chosen.size, (
        f"{chosen.size:,} pieces: {chosen.saved:.0%} fewer tokens, the rarest piece seen "
        f"{chosen.rarest:,.0f} times in this budget; {why}"
    )


def table(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of a sweep (as `Sweep.as_dict` gives it) for people."""
    return [
        (
            f"{row['size']:,}" if row["size"] else "base",
            f"{row['new_rate']:.3f}",
            f"{row['old_rate']:.3f}",
            f"{row['parameters'] / 1e6:,.1f} M ({row['share']:.1%})" if row["size"] else "",
            f"{row['rarest']:,.0f}" if row["size"] else "",
            f"{row['saved']:.1%}" if row["size"] else "",
            f"{row['flops']:.2e}" + (f" ({-row['flops_saved']:+.0%})" if row["size"] else ""),
            f"{row['break_even']:.2g}" if row["break_even"] else "",
        )
        for row in found["rows"]
    ]


COLUMNS = (
    "pieces",
    "new tok/char",
    "old tok/char",
    "rows add",
    "rarest seen",
    "tokens saved",
    "training FLOPs",
    "break-even",
)
