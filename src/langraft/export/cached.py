"""A GGUF file for whatever names a model: the file itself, or one made once and kept."""

from __future__ import annotations

from pathlib import Path

from langraft.checkpoint.bases import cache_folder, resolve_base
from langraft.checkpoint.folder import model_digest
from langraft.core.errors import BadInput
from langraft.core.messages import say
from langraft.export.gguf import export_gguf


def gguf_of(model: str, kind: str = "q8_0") -> Path:
    """The GGUF file of a `.gguf` path, a folder, a named base or a hub id.

    Raises:
        BadInput: there is no such model, or none that becomes GGUF.
    """
    path = Path(model)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise BadInput(f"{path}: no such file")
        return path
    folder = resolve_base(model, Path())
    name = f"{folder.resolve().name}-{model_digest(folder)[:12]}-{kind}.gguf"
    file = cache_folder() / "gguf" / name
    if not file.exists():
        say(f"converting {folder} to {kind} (once): {file}")
        export_gguf(folder, file, kind)
    return file
