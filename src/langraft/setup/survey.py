"""What lies in a folder of text: which files are in the new language, which in the old, and how
much.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from langraft.core.errors import BadInput
from langraft.core.messages import track
from langraft.corpus.fold import code_points
from langraft.corpus.language import UNKNOWN, LanguageIdentifier
from langraft.corpus.readers import expand, read_texts
from langraft.corpus.readers.columns import PACKED
from langraft.corpus.readers.records import Malformed
from langraft.corpus.script_kernel import SCRIPTS, line_bytes, script_table
from langraft.corpus.scripts import script_share
from langraft.data.conversations import layout_of
from langraft.data.objects import FORMATS, Unfit, read_objects
from langraft.setup.languages import Tongue

TEXT_KEYS = ("text", "content", "body", "article", "document", "raw_content")
SAMPLED, SHOWN = 40, 2_000  # records of a file, and characters of each, that are looked at
COUNTED = 8_000_000  # bytes on the disk; the text of larger files is estimated, not counted
PACKING = 3.5  # bytes of text in a byte of a packed file, as gzip and zstd usually reach


@dataclasses.dataclass(frozen=True)
class TextFile:
    """One file of text.

    Attributes:
        language: what most of its sampled texts are in.
        text_key: the key that holds the text.
        size: UTF-8 bytes of its text, exact for small files.
        scripts: bytes of the sample's letters by Unicode script.
        sample: sampled texts, cut.
    """

    path: Path
    language: str
    text_key: str
    size: int
    scripts: Mapping[str, int]
    sample: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Body:
    """Files of one language whose text lies under one key: a source of a recipe."""

    language: str
    text_key: str
    files: tuple[TextFile, ...]

    @property
    def size(self) -> int:
        """UTF-8 bytes of text."""
        return sum(file.size for file in self.files)

    @property
    def sample(self) -> list[str]:
        """Sampled texts of all files."""
        return [text for file in self.files for text in file.sample]

    @property
    def scripts(self) -> dict[str, float]:
        """The share of each script in the sampled letters, largest first; a hundredth and more."""
        counts = Counter[str]()
        for file in self.files:
            counts.update(file.scripts)
        total = counts.total() or 1
        return {name: n / total for name, n in counts.most_common() if n >= total / 100}


@dataclasses.dataclass(frozen=True)
class Survey:
    """A folder of text.

    Attributes:
        new, old: bodies in the new language; those of the other language that there is most of.
        others: bodies in further languages.
        talks: files of conversations.
        unread: why files cannot be read as text.
    """

    folder: Path
    new: tuple[Body, ...]
    old: tuple[Body, ...]
    others: tuple[Body, ...]
    talks: tuple[Path, ...]
    unread: Mapping[Path, str]

    @property
    def new_bytes(self) -> int:
        """UTF-8 bytes in the new language."""
        return sum(body.size for body in self.new)

    @property
    def old_bytes(self) -> int:
        """UTF-8 bytes in the old language."""
        return sum(body.size for body in self.old)

    def paths(self, body: Body, root: Path) -> list[str]:
        """What a recipe in the folder `root` calls the files of `body`: a whole subfolder by its
        name where all readable files below it belong to the body.
        """
        readable = [file.path for one in (*self.new, *self.old, *self.others) for file in one.files]
        every = [*readable, *self.talks, *self.unread]
        own = {file.path for file in body.files}
        return [_relative(p, root) for p in _collapsed(self.folder, own, every)]


def survey(folder: Path, tongue: Tongue) -> Survey:
    """Look at every readable file below `folder`.

    Raises:
        BadInput: no such folder, nothing readable in it, or nothing in the language asked for.
    """
    if not folder.exists():
        raise BadInput(f"data {str(folder)!r}: no such folder")
    paths = expand([str(folder.resolve())], Path())
    texts: list[TextFile] = []
    talks: list[Path] = []
    unread: dict[Path, str] = {}
    identifier = LanguageIdentifier()
    for path in track(paths, "looking at the data", total=len(paths), unit="files"):
        if _is_talk(path):
            talks.append(path)
            continue
        try:
            texts.append(_look(path, identifier))
        except BadInput as error:
            unread[path] = str(error)
    bodies = _bodies(texts, tongue)
    new = tuple(body for body in bodies if body.language == tongue.code)
    if not new:
        there = ", ".join(f"{b.language} ({b.size:,} bytes)" for b in bodies) or "none"
        raise BadInput(
            f"data {str(folder)!r}: none of its {len(paths)} files is in {tongue.code}; languages "
            f"found: {there}" + "".join(f"; {why}" for why in list(unread.values())[:1])
        )
    rest = [body for body in bodies if body.language != tongue.code]
    first = _most(rest)
    return Survey(
        folder.resolve(),
        new,
        tuple(body for body in rest if body.language == first),
        tuple(body for body in rest if body.language != first),
        tuple(talks),
        unread,
    )


def _is_talk(path: Path) -> bool:
    """Whether the first record of a file is a conversation."""
    name = path.with_suffix("") if path.suffix in PACKED else path
    if name.suffix not in FORMATS:
        return False
    try:
        first = next(iter(read_objects(path)), None)
    except BadInput:
        return False
    return first is not None and not isinstance(first, Unfit) and layout_of(first[1]) is not None


def _look(path: Path, identifier: LanguageIdentifier) -> TextFile:
    refused: BadInput | None = None
    for key in TEXT_KEYS:
        try:
            size, sample = _read(path, key)
        except BadInput as error:
            refused = refused or error
            continue
        votes = Counter(found.language for found in identifier.identify(sample))
        votes.pop(UNKNOWN, None)
        language = votes.most_common(1)[0][0] if votes else UNKNOWN
        return TextFile(path, language, key, size, _scripts(sample), tuple(sample))
    assert refused is not None
    raise refused


def _read(path: Path, key: str) -> tuple[int, list[str]]:
    """Bytes of the file's text, and a sample from its start."""
    records = read_texts(path, key, Malformed())
    sample = [record.text for record in itertools.islice(records, SAMPLED)]
    disk = path.stat().st_size
    if disk <= COUNTED:
        size = sum(len(text.encode()) for text in sample)
        size += sum(len(record.text.encode()) for record in records)
    else:
        size = int(disk * (PACKING if path.suffix in PACKED else 1))
    return size, [text[:SHOWN] for text in sample]


def _scripts(sample: Sequence[str]) -> dict[str, int]:
    codes, offsets = code_points(list(sample))
    _, every = line_bytes(codes, offsets, script_table())
    counts = every.sum(0)
    return {SCRIPTS[n]: int(counts[n]) for n in range(len(SCRIPTS)) if counts[n]}


def _bodies(texts: Sequence[TextFile], tongue: Tongue) -> list[Body]:
    """The files by language and key. Where no file is in the language itself (the identifier knows
    176), those in its scripts are taken for it, unless that is Latin.
    """
    if not any(file.language == tongue.code for file in texts) and not tongue.latin:
        texts = [
            dataclasses.replace(file, language=tongue.code) if _written_in(file, tongue) else file
            for file in texts
        ]
    keys = dict.fromkeys((file.language, file.text_key) for file in texts)
    return [
        Body(*key, tuple(file for file in texts if (file.language, file.text_key) == key))
        for key in keys
    ]


def _written_in(file: TextFile, tongue: Tongue) -> bool:
    return script_share("\n".join(file.sample), tongue.scripts) > 0.5


def _most(bodies: Iterable[Body]) -> str:
    sizes = Counter[str]()
    for body in bodies:
        if body.language != UNKNOWN:
            sizes[body.language] += body.size
    return sizes.most_common(1)[0][0] if sizes else ""


def _collapsed(folder: Path, own: set[Path], every: Sequence[Path]) -> list[Path]:
    """`own` with every folder that holds nothing of `every` but `own` in place of its files."""
    if folder.is_file():
        return [folder]
    below = [path for path in every if folder in path.parents]
    if below and all(path in own for path in below):
        return [folder]
    found: list[Path] = []
    for name in sorted({path.relative_to(folder).parts[0] for path in below}):
        place = folder / name
        if place in own:
            found.append(place)
        elif place.is_dir():
            found += _collapsed(place, own, every)
    return found


def _relative(path: Path, root: Path) -> str:
    """`path` as seen from `root`, where that does not climb too far; else absolute."""
    try:
        return str(path.relative_to(root))
    except ValueError:
        if root.parent in path.parents:
            return str(Path("..") / path.relative_to(root.parent))
        return str(path)
