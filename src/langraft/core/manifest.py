"""A stage is a folder with a manifest: skipped when nothing changed, resumed when it broke, never
half there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from langraft.core.errors import RunFailed
from langraft.core.hardware import (
    forget_peak_memory,
    give_back_memory,
    peak_memory,
    processor,
    versions,
)
from langraft.core.io import (
    PARTIAL,
    disk_errors,
    folder_hashes,
    read_json,
    remove,
    replace_folder,
    sha256_json,
    write_json,
)
from langraft.core.messages import say

MANIFEST = "manifest.json"
FINGERPRINT = "fingerprint"
LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Stage:
    """One folder of a run.

    Attributes:
        name: the folder's name.
        settings: everything besides `inputs` that the output depends on, JSON-able.
        inputs: sha256 by name of every input.
        work: writes its files into the folder it is given and returns the headline numbers.
            The folder may hold what an earlier, killed call with the same settings and inputs left
            there.
    """

    name: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    work: Callable[[Path], dict[str, Any]]

    @property
    def fingerprint(self) -> str:
        """The sha256 that decides whether the work must be done again."""
        return sha256_json({"settings": self.settings, "inputs": dict(self.inputs)})


def run_stage(
    run: Path, stage: Stage, *, lead: bool = True, wait: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Do `stage` inside the run folder `run`, or skip it when its manifest matches.

    Args:
        lead: whether this process prepares and finishes the folder; of several that work together
            one does.
        wait: returns when all of them have called it.

    Returns:
        The stage's manifest: stage, fingerprint, settings, inputs, outputs (sha256 by relative
        path), versions, device, seconds, peak_memory (bytes of this process), results.
    """
    final = run / stage.name
    done = read_manifest(final)
    wait()
    if done is not None and done[FINGERPRINT] == stage.fingerprint and _complete(final, done):
        (final / FINGERPRINT).unlink(missing_ok=True)
        say(f"[green]done before[/green]  {stage.name}")
        return done
    partial = run / (stage.name + PARTIAL)
    with disk_errors(partial):
        mark = partial / FINGERPRINT
        if lead and (not mark.exists() or mark.read_text() != stage.fingerprint):
            remove(partial)
            partial.mkdir(parents=True)
            mark.write_text(stage.fingerprint)
        wait()
        give_back_memory()
        forget_peak_memory()
        started = time.monotonic()
        results = stage.work(partial)
        seconds = round(time.monotonic() - started, 1)
        wait()
        if not lead:
            wait()
            return read_manifest(final) or {}
        manifest = {
            "stage": stage.name,
            FINGERPRINT: stage.fingerprint,
            "settings": dict(stage.settings),
            "inputs": dict(stage.inputs),
            "outputs": {
                name: digest
                for name, digest in folder_hashes(partial).items()
                if name not in (FINGERPRINT, MANIFEST)
            },
            "versions": versions(),
            "device": processor(),
            "seconds": seconds,
            "peak_memory": peak_memory(),
            "results": results,
        }
        write_json(partial / MANIFEST, manifest)
        replace_folder(partial, final)
        (final / FINGERPRINT).unlink()
        wait()
    say(f"[green]done[/green]  {stage.name}  [dim]{seconds:.0f} s[/dim]")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished stage, or None when the folder holds none."""
    path = folder / MANIFEST
    return dict(read_json(path)) if path.exists() else None


def outputs_digest(manifest: Mapping[str, Any]) -> str:
    """One sha256 over all outputs of a stage: what a later stage records as its input."""
    return sha256_json(manifest["outputs"])


def _complete(folder: Path, manifest: Mapping[str, Any]) -> bool:
    return all((folder / name).exists() for name in manifest["outputs"])


@contextlib.contextmanager
def run_lock(run: Path) -> Iterator[None]:
    """Hold the run folder for this process.

    Raises:
        RunFailed: another process holds it; the message gives its pid.
    """
    path = run / LOCK
    with disk_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            owner = stream.read().strip() or "unknown"
            raise RunFailed(
                f"{run}: another langraft run works in this folder (pid {owner}). "
                "Wait for it, stop it, or choose another --out"
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
