"""A build that is killed, that runs elsewhere, or that meets files nobody should meet."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard

from langraft.core.io import folder_hashes
from langraft.corpus.build import FINGERPRINT, WORK

HAS_RAY = importlib.util.find_spec("ray") is not None


def paragraph(draw: random.Random) -> str:
    return "".join(chr(draw.randrange(0x4E00, 0x9F00)) for _ in range(40)) + "。\n"


def write_sources(folder: Path, sources: int, documents: int) -> list[dict[str, Any]]:
    """Files of Chinese nonsense with copies and near copies of each other's documents."""
    draw, made = random.Random(3), []
    kept: list[str] = []
    for number in range(sources):
        with (folder / f"s{number}.jsonl").open("w", encoding="utf-8") as stream:
            for _ in range(documents):
                text = "".join(paragraph(draw) for _ in range(12))
                if kept and draw.random() < 0.2:
                    text = draw.choice(kept)
                    text = text if draw.random() < 0.5 else text.replace("。", "！", 1) + "又"
                kept.append(text)
                stream.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
        made.append({"name": f"s{number}", "paths": [f"s{number}.jsonl"], "language": "zh"})
    return made


def recipe(folder: Path, sources: list[dict[str, Any]], **settings: Any) -> Path:
    corpus = {
        "sources": sources,
        "rules": "zh",
        "clean": {"boilerplate": {}},
        "redact": ["email", "phone"],
        "dedup": {"minhash": {}, "rehydrate": True},
        "buckets": {"count": 3},
        "holdout": {"bytes": 4_000},
        **settings,
    }
    path = folder / "recipe.yaml"
    whole = {"name": "test", "language": {"code": "zh", "scripts": ["Han"]}, "corpus": corpus}
    path.write_text(yaml.safe_dump(whole, allow_unicode=True))
    return path


def started(path: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "langraft", "corpus", "build", str(path), "--out", str(out)]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, *more], stdout=pipe, stderr=pipe, text=True, start_new_session=True
    )


def build(path: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    process = started(path, out, *more)
    printed, told = process.communicate()
    return subprocess.CompletedProcess([], process.returncode, printed, told)


def texts(out: Path) -> dict[str, str]:
    """The bytes of everything but the manifest and the page, which show seconds and the name."""
    shown = ("manifest.json", "corpus.html")
    return {name: digest for name, digest in folder_hashes(out).items() if name not in shown}


def finished_shards(out: Path) -> dict[str, int]:
    """The notes of finished shards of an unfinished build, and when they were written; none once
    the build gave them up because all its files were there.
    """
    folder = out.with_name(out.name + ".partial") / WORK
    if not (folder / FINGERPRINT).exists():
        return {}
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for step in ("read", "clean", "near", "write")
        for path in folder.glob(f"{step}/*.json")
    }


def kill_at_random_moments(path: Path, folder: Path, kills: int, longest: float) -> int:
    """Build until `kills` runs were killed and one ended; returns how many shards outlived a kill.

    A shard that was finished before a kill must not be written again.
    """
    draw, killed, outlived, attempt = random.Random(11), 0, 0, 0
    out = folder / f"killed{attempt}"
    before: dict[str, int] = {}
    while killed < kills:
        process = started(path, out)
        try:
            process.communicate(timeout=draw.uniform(0.2, longest))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
            found = finished_shards(out)
            assert not found or {name: found.get(name) for name in before} == before
            before, outlived = found, max(outlived, len(found))
            continue
        assert process.returncode == 0
        attempt, before = attempt + 1, {}  # it was quicker: kill the next one
        out = folder / f"killed{attempt}"
    last = build(path, out)
    assert last.returncode == 0, last.stderr
    for number in range(attempt + 1):
        assert texts(folder / f"killed{number}") == texts(folder / "whole")
    return outlived


def test_killed_and_started_again_the_bytes_are_the_same(tmp_path: Path) -> None:
    path = recipe(tmp_path, write_sources(tmp_path, 6, 300))
    began = time.monotonic()
    assert build(path, tmp_path / "whole").returncode == 0
    seconds = time.monotonic() - began
    assert kill_at_random_moments(path, tmp_path, 3, seconds) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_at_ten_random_moments_over_real_corpora(material: Path, tmp_path: Path) -> None:
    names = ("zh/noisy_xda_mt", "zh/chinese_poetry", "zh/noisy_reviews", "en/openstax_biology")
    sources = [
        {
            "name": name[3:],
            "paths": [str(material / "corpora" / f"{name}.jsonl.zst")],
            "language": name[:2],
        }
        for name in names
    ]
    path = recipe(tmp_path, sources, holdout={"bytes": 20_000})
    began = time.monotonic()
    assert build(path, tmp_path / "whole").returncode == 0
    seconds = time.monotonic() - began
    assert kill_at_random_moments(path, tmp_path, 10, seconds) > 4


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed: pip install 'langraft[cluster]'")
def test_ray_gives_the_same_bytes_as_this_machine(tmp_path: Path) -> None:
    path = recipe(tmp_path, write_sources(tmp_path, 4, 300))
    assert build(path, tmp_path / "whole").returncode == 0
    done = build(path, tmp_path / "ray", "--set", "hardware.cluster=local")
    assert done.returncode == 0, done.stderr
    assert texts(tmp_path / "ray") == texts(tmp_path / "whole")


def test_trouble_in_files_is_named_or_counted(tmp_path: Path) -> None:
    """The whole command on broken inputs: what is wrong is an error, exit code 2, or is counted."""
    sources = write_sources(tmp_path, 1, 60)
    packed = zstandard.ZstdCompressor().compress((tmp_path / "s0.jsonl").read_bytes())
    (tmp_path / "cut.jsonl.zst").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "nul.jsonl").write_bytes(b"\0" * 100_000)
    (tmp_path / "tiny").mkdir()
    for number in range(500):
        (tmp_path / "tiny" / f"{number}.txt").write_text("短")
    for bad, message in (
        ("cut.jsonl.zst", r"cut.jsonl.zst"),
        ("nul.jsonl", r"nul.jsonl"),
        ("tiny", "no document of 'bad' is left to train on (min_tokens 500)"),
    ):
        extra = {"name": "bad", "paths": [bad], "language": "zh"}
        done = build(recipe(tmp_path, [*sources, extra]), tmp_path / "out")
        assert done.returncode == 2, (bad, done.stderr)
        assert message in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()


def test_a_very_long_line_is_skipped_and_quoted(tmp_path: Path) -> None:
    sources = write_sources(tmp_path, 1, 60)
    with (tmp_path / "s0.jsonl").open("a") as stream:
        stream.write('{"text": "' + "长" * 70_000_000)  # 200 MB, no end
    done = build(recipe(tmp_path, sources), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())["sources"]["s0"]
    assert (counts["read"], counts["malformed"]) == (60, 1)
    dropped = (tmp_path / "out" / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    malformed = [json.loads(line) for line in dropped if '"malformed"' in line]
    assert malformed[0]["place"].endswith("s0.jsonl:61: the line is longer than 64 MiB")
