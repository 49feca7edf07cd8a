"""Where a suite's files come from: a folder, a tar or zip archive, or the hub. Everything is
offered as named bytes.
"""

from __future__ import annotations

import tarfile
import zipfile
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
        data: a folder, a `.tar`, `.tar.gz`, `.tgz`, `.tar.zst` or `.zip` archive, or
            `hub:owner/name` for a data set on the Hugging Face hub, whose archives are looked into.
        root: the folder that relative paths are relative to.
        wanted: whether a path (POSIX, relative) is a file of the suite.

    Raises:
        BadInput: nothing is there, an archive is damaged or names paths outside itself, or a file
            is larger than any published suite's.
    """
    if data.startswith(HUB):
        folder = _from_hub(data.removeprefix(HUB))
        packed = [path for path in sorted(folder.rglob("*")) if _is_archive(path)]
        inside = [dict(_archive(path, wanted)) for path in packed]
        return {name: content for part in inside for name, content in part.items()} | _folder(
            folder, wanted
        )
    place = root / data
    if place.is_dir():
        return _folder(place, wanted)
    if _is_archive(place):
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


def _is_archive(path: Path) -> bool:
    packed = path.suffix in (".tgz", ".zip") or ".tar" in path.suffixes[-2:]
    return packed and path.is_file()


def _archive(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """The archive's wanted files, streamed; nothing is ever written to disk."""
    if path.suffix == ".zip":
        yield from _zip(path, wanted)
        return
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
    name = _inside(path, member.name)
    if not member.isfile() or not wanted(name):
        return
    _bound(path, member.name, member.size)
    content = archive.extractfile(member)
    assert content is not None
    yield name, content.read()


def _zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = _inside(path, member.filename)
                if not member.is_dir() and wanted(name):
                    _bound(path, member.filename, member.file_size)
                    yield name, archive.read(member)
    # zipfile's RuntimeError is for a password or, one class below it, a compression it lacks
    except (zipfile.BadZipFile, RuntimeError) as error:
        raise BadInput(f"{path}: not a readable zip archive ({error})") from error


def _inside(path: Path, name: str) -> str:
    """The name of an archive's member as a relative path."""
    found = PurePosixPath(name)
    if found.is_absolute() or ".." in found.parts:
        raise BadInput(f"{path}: it names {name!r}, a path outside the archive; not read")
    return found.as_posix()


def _bound(path: Path, name: str, size: int) -> None:
    if size > MOST_BYTES:
        raise BadInput(f"{path}: {name} holds {size:,} bytes, more than a suite's")


def _from_hub(identifier: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(identifier, repo_type="dataset"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise BadInput(
            f"hub data set {identifier!r} cannot be fetched: {str(error).splitlines()[0]}"
        ) from error
