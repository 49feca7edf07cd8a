"""What learning the new rows costs before training begins."""

from __future__ import annotations

from langraft.plan.stages import Growth
from langraft.recipe import Graft
from langraft.recipe.graft import AUTO, SILENT_SHARE, parts_of

BASE_TOKENS = 2.0  # the base reads so many tokens for one of the extended tokenizer


def starting_flops(graft: Graft | None, growth: Growth) -> tuple[int, float]:
    """Tokens that are read for the new rows, and the operations; both 0 where rows are computed
    from other rows. `auto` is reckoned as if it learnt rows once.

    Input rows: the base's states after `depth` layers once, then forward and backward through them
    at every step, no weight of theirs learning. Output rows: the last states and the old rows'
    logits once, for the new and for the old language, then the new rows' products at every step.
    """
    if graft is None or not growth.added:
        return 0, 0.0
    first, output = ("distil", "fit") if graft.init == AUTO else parts_of(graft.init)
    shape, settings = growth.base, graft.distil
    block = shape.block_matrices
    tokens, operations = 0, 0.0
    if first == "distil":
        blocks = min(settings.depth, shape.layers) * block
        read, learnt = settings.positions, settings.steps * settings.batch_tokens
        tokens += read + learnt
        operations += 2 * blocks * read * BASE_TOKENS + 4 * blocks * learnt
    if output == "fit":
        read = settings.output_positions + settings.old_positions
        learnt = settings.output_steps * settings.output_batch
        learnt += bool(settings.old_positions) * -(-learnt // SILENT_SHARE)
        tokens += read
        operations += 2 * (shape.layers * block + shape.matrix) * read
        operations += 6 * growth.added * shape.hidden * learnt
    return tokens, operations
