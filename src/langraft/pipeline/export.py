"""The export stage."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from langraft.core.io import remove
from langraft.core.manifest import Stage, outputs_digest
from langraft.export.gguf import export_gguf
from langraft.export.modelfile import write_modelfile
from langraft.export.parity import check_export
from langraft.export.types import mix_named
from langraft.pipeline.run import Run
from langraft.pipeline.tuned import model_so_far
from langraft.recipe import needs

CHECKED_TEXTS = 40


def export_stage(this: Run) -> Stage:
    """The last model -> a GGUF file of every type asked for, each checked against it."""
    needs(this.recipe, "export")
    settings = this.recipe.export
    assert settings is not None
    for kind in settings.gguf:
        mix_named(kind)
    last = model_so_far(this, "export")[0] or "graft"

    def work(folder: Path) -> dict[str, Any]:
        model, files = this.out / last, []
        texts = [t for s in this.languages for t in this.texts("holdout", s)[:CHECKED_TEXTS]]
        for kind in settings.gguf:
            file = folder / f"{this.recipe.name}-{kind.lower()}.gguf"
            remove(file)
            found = export_gguf(model, file, kind, context=settings.context) | {"file": file.name}
            write_modelfile(model, file)
            if settings.check:
                found["parity"] = dataclasses.asdict(check_export(model, file, kind, texts))
            files.append(found)
        return {"gguf": files}

    inputs = {"model": outputs_digest(this.manifest(last))}
    return Stage("export", settings.model_dump(mode="json"), inputs, work)
