"""From the paths of a recipe to files: folders, globs, and what a datasets folder lists."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from langraft.core.errors import BadInput
from langraft.core.io import read_json

# What Hugging Face datasets writes beside the data, in the layouts of save_to_disk and of the hub.
METADATA = {"dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json"}


def expand(
    paths: Sequence[str], root: Path, known: Callable[[Path], bool], formats: str
) -> list[Path]:
    """The files that `paths` name: files, folders (searched to the bottom) and globs, relative to
    `root` or absolute.

    Files of other formats and names that start with a dot are passed over unless named in full; so
    is what `METADATA` names, and in a folder that `Dataset.save_to_disk` wrote, files that its
    `state.json` does not list.

    Args:
        paths: what a recipe's source names.
        root: where relative paths start.
        known: whether a file has a known format.
        formats: the known formats in words, for messages.

    Returns:
        Each file once, sorted by its path.

    Raises:
        BadInput: a path matches no readable file, or a folder may not be read; the message names
            it.
    """
    found = [file for path in paths for file in _expand_one(path, root, known, formats)]
    return sorted({file.resolve(): file for file in reversed(found)}.values())


def _expand_one(
    pattern: str, root: Path, known: Callable[[Path], bool], formats: str
) -> list[Path]:
    named = root / pattern
    if _is_file(named):
        if not known(named):
            raise BadInput(f"{pattern}: not a known format; langraft reads {formats}")
        return [named]
    found = [file for place in _places(pattern, root) for file in _files(place)]
    readable = [file for file in found if known(file)]
    if not readable:
        there = (
            f"matches {len(found)} files, none of a known format" if found else "matches no file"
        )
        raise BadInput(f"{pattern}: {there} in {root.resolve()}; langraft reads {formats}")
    return readable


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError as error:
        raise BadInput(f"{path}: no permission to enter its folder") from error


def _places(pattern: str, root: Path) -> Iterable[Path]:
    if (root / pattern).is_dir():
        return [root / pattern]
    anchor = Path(pattern).anchor
    try:
        return list(Path(anchor or root).glob(pattern[len(anchor) :]))
    except (ValueError, NotImplementedError) as error:  # pathlib's own, for `///x` and the like
        raise BadInput(f"{pattern!r}: not a usable path or glob ({error})") from error


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    for folder, below, names in os.walk(place, onerror=_refused):
        below[:] = sorted(name for name in below if not name.startswith("."))
        listed = _listed(Path(folder)) if "state.json" in names else None
        for name in names:
            visible = not name.startswith(".") and name not in METADATA
            if visible and (listed is None or name in listed):
                yield Path(folder, name)


def _refused(error: OSError) -> None:
    raise BadInput(f"{error.filename}: cannot be read ({error.strerror})") from error


def _listed(folder: Path) -> set[str] | None:
    """The data files that a saved dataset consists of; nothing where `state.json` is another's."""
    state = read_json(folder / "state.json")
    files = state.get("_data_files") if isinstance(state, dict) else None
    return {file["filename"] for file in files} if isinstance(files, list) else None
