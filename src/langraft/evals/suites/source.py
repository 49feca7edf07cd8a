"""Where a suite's files come from: a folder, a tar archive, or the hub. Everything is offered as
named bytes.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from langraft.core.errors import BadInput
from langraft.core.io import open_binary

MOST_BYTES = 64 * 1024 * 1024
HUB = "hub:"
Files = dict[str, bytes]


def read_files(data: str, root: Path, wanted: Callable[[str], bool]) -> Files:
    """The files of `data` whose relative path `wanted` accepts, by that path.

    Args:
        data: a folder, a `.tar`, `.tar.gz`, `.tgz` or `.tar.zst` archive, or `hub:owner/name` for a
            data set on the Hugging Face hub.
        root: the folder that relative paths are relative to.
        wanted: whether a path (POSIX, relative) is a file of the suite.

    Raises:
        BadInput: nothing is there, an archive is damaged or names paths outside itself, or a file
            is larger than any published suite's.
    """
    if data.startswith(HUB):
        return _folder(_from_hub(data.removeprefix(HUB)), wanted)
    place = root / data
    if place.is_dir():
        return _folder(place, wanted)
    if (place.is_file() and ".tar" in "".join(place.suffixes[-2:])) or place.suffix == ".tgz":
        return dict(_archive(place, wanted))
    if place.is_file():
        return {place.name: _bounded(place)} if wanted(place.name) else {}
    raise BadInput(f"{place}: no such folder, archive or file of benchmark data")


def _folder(folder: Path, wanted: Callable[[str], bool]) -> Files:
    paths = sorted(p for p in folder.rglob("*") if p.is_file())
    named = {p.relative_to(folder).as_posix(): p for p in paths}
    return {name: _bounded(path) for name, path in named.items() if wanted(name)}


def _bounded(path: Path) -> bytes:
    if path.stat().st_size > MOST_BYTES:
        raise BadInput(f"{path}: {path.stat().st_size:,} bytes is more than a suite's file holds")
    return path.read_bytes()


def _archive(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The archive's wanted files, streamed; nothing is ever written to disk."""
    with open_binary(path) as raw:
        try:
            with tarfile.open(
                fileobj=raw, mode="r|gz" if path.suffix == ".tgz" else "r|"
            ) as archive:
                for member in archive:
                    yield from _member(path, archive, member, wanted)
        except tarfile.TarError as error:
            raise BadInput(f"{path}: not a readable tar archive ({error})") from error


def _member(
    path: Path,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    wanted: Callable[[str], bool],
) -> Iterator[tuple[str, bytes]]:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise BadInput(f"{path}: it names {member.name!r}, a path outside the archive; not read")
    if not member.isfile() or not wanted(name.as_posix()):
        return
    if member.size > MOST_BYTES:
        raise BadInput(f"{path}: {member.name} holds {member.size:,} bytes, more than a suite's")
    content = archive.extractfile(member)
    assert content is not None
    yield name.as_posix(), content.read()


def _from_hub(identifier: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(identifier, repo_type="dataset"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise BadInput(
            f"hub data set {identifier!r} cannot be fetched: {str(error).splitlines()[0]}"
        ) from error
