"""`export:` the files for other programs."""

from __future__ import annotations

from pydantic import Field

from langraft.recipe.section import Positive, Section


class Export(Section):
    """The files for other programs.

    Attributes:
        gguf: types to write, see `langraft export gguf --help`.
        check: compare every file with the model: ids, logits, a passage.
        context: the length at which a dynamic rope scaling is frozen.
    """

    gguf: tuple[str, ...] = Field(default=("f16", "q8_0"), min_length=1)
    check: bool = True
    context: Positive | None = None
