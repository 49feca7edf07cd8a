"""The language is a parameter: LLaMA-2 extended for Japanese and for Russian.

    apt-get download manpages-ja debian-handbook
    python benchmarks/tokenizer_languages.py --packages DIR [--material DIR] [--json FILE]

Texts are Debian's translated documentation: manual pages in Japanese (manpages-ja), the Debian
Administrator's Handbook in Russian (debian-handbook). Every tenth file is held out. Old text is the
quickstart's English.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tokenizer_material import MATERIAL, english_lines

from langraft.corpus.html import plain
from langraft.tokenizer.check import check_tokenizer
from langraft.tokenizer.compare import measure
from langraft.tokenizer.encoder import load_encoder
from langraft.tokenizer.extend import Rules, extend_tokenizer

LANGUAGES = {
    "Japanese": ("manpages-ja", "usr/share/man/ja", ("Han", "Hiragana", "Katakana")),
    "Russian": ("debian-handbook", "usr/share/doc/debian-handbook/html/ru-RU", ("Cyrillic",)),
}
SIZES = (1_000, 2_000, 4_000)
OLD_LINES = 10_000
MACRO = re.compile(r"^[.'].*$|\\f[A-Z]|\\[-&|]", re.M)  # what groff reads as commands


def texts(packages: Path, name: str, place: str) -> Iterator[str]:
    """The texts of a package's files, without mark-up."""
    (archive,) = packages.glob(f"{name}_*.deb")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        for path in sorted((Path(folder) / place).rglob("*")):
            if path.is_symlink() or not path.is_file():
                continue
            if path.suffix == ".gz":
                yield MACRO.sub("", gzip.decompress(path.read_bytes()).decode(errors="replace"))
            elif path.suffix == ".html":
                yield plain(path.read_bytes()) or ""


def main() -> None:
    """Extend, measure, prove; print a table and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--packages", type=Path, required=True)
    parser.add_argument("--material", type=Path, default=MATERIAL)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    base = given.material / "tokenizers/llama2/tokenizer.model"
    english = english_lines(given.material, OLD_LINES)
    found: dict[str, dict[str, object]] = {}
    for language, (package, place, scripts) in LANGUAGES.items():
        documents = list(texts(given.packages, package, place))
        held, learnt = documents[::10], [t for n, t in enumerate(documents) if n % 10]
        before = measure(load_encoder(base), held)["tokens_per_character"]
        characters = sum(map(len, learnt))
        print(f"{language}: {characters:,} characters to learn from, base {before:.3f}")
        for size in SIZES:
            with tempfile.TemporaryDirectory() as out:
                made = extend_tokenizer(
                    base, learnt, size=size, rules=Rules(scripts), out=Path(out)
                )
                rate = measure(load_encoder(Path(out)), held)["tokens_per_character"]
                proofs = check_tokenizer(base, Path(out), english, held)
            failed = [f"{p.name}: {p.counterexample}" for p in proofs if not p.passed]
            verdict = "; ".join(failed) or "all proofs hold"
            print(
                f"  {made['added_pieces']:,} pieces: {rate:.3f}, {before / rate:.2f} times fewer; "
                f"{verdict}",
                flush=True,
            )
            found[f"{language} {size}"] = {
                "characters": characters,
                "base": before,
                "extended": rate,
                "failed": failed,
            }
    if given.json:
        given.json.write_text(json.dumps(found, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
