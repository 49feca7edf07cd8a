"""The machine's check-up: what is there, what is not, and what it says then."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from typer.testing import CliRunner

from langraft.cli import app
from langraft.core.hardware import Cpu
from langraft.plan.devices import cpu
from langraft.setup import doctor

NEEDED = [
    "torch>=2.11",
    "numpy>=2.0",
    "xllamacpp>=1; extra == 'serve'",
    "no-such-package; extra == 'demo'",
]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A known list of packages, no login, a cache of its own."""
    monkeypatch.setattr(metadata, "requires", lambda name: NEEDED)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def checks(hub: bool = False, folder: Path = Path()) -> dict[str, doctor.Check]:
    return {check.name: check for check in doctor.examine(folder, hub)}


def test_what_is_there() -> None:
    found = checks()
    assert found["Python"].state == found["torch"].state == found["packages"].state == "good"
    assert found["torch"].found.startswith(torch.__version__)
    assert found["packages"].found == "1 required ones"
    assert f"{len(os.sched_getaffinity(0))} cores" in found["processor"].found
    assert "TFLOP/s" in found["processor"].found
    assert found["extra [demo]"].advice.endswith("pip install 'langraft[demo]'")
    assert found["extra [demo]"].found == "no-such-package is not installed"
    assert "extra [track]" not in found  # this metadata has none
    assert "hub" not in found and found["hub login"].state == "lacking"
    assert "GiB free" in found["disk for runs"].found


@pytest.mark.parametrize(
    ("needed", "message"),
    [
        (["torch>=2", "numpy>=99"], "does not satisfy >=99"),
        (["torch>=2", "not-there"], "not-there is not installed"),
    ],
)
def test_a_missing_package_fails_the_verb(
    monkeypatch: pytest.MonkeyPatch, needed: list[str], message: str
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 1
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ok"] is False
    (bad,) = [check for check in told["checks"] if check["state"] == "bad"]
    assert bad["name"] == "packages" and message in bad["found"] and "make setup" in bad["advice"]


def test_an_old_torch_or_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=99"])
    assert checks()["torch"].state == "bad"
    monkeypatch.setattr(metadata, "requires", lambda name: ["torch>=2"])

    def broken(name: str) -> Any:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    found = checks()
    assert found["torch"].state == "bad" and "libcudart" in found["torch"].found
    assert "torch does not load" in found["GPU"].found


def test_memory_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "_available", lambda: int(1.5 * 2**30))
    assert checks()["memory"].state == "bad"
    monkeypatch.setattr(doctor, "_available", lambda: 3 * 2**30)
    assert checks()["memory"].state == "lacking"
    usage = type("Usage", (), {"free": 2**29})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage)
    assert checks()["disk for runs"].state == "bad"
    monkeypatch.setattr(doctor.os, "access", lambda place, mode: False)
    found = checks(folder=tmp_path / "not" / "there")["disk for runs"]
    assert found.state == "bad" and found.found == f"{tmp_path}: not writable"


def test_processors_by_their_flags() -> None:
    """2 cores at 2.5 GHz: AVX2 32 FLOP a cycle, pairs of bfloat16 128, AMX 2,048."""
    peaks = {
        flags: cpu(Cpu(2, 8 << 30, frozenset(flags.split()))).peak
        for flags in ("", "avx2", "avx2 avx512f", "avx2 avx512f avx512_bf16", "amx_bf16 avx512f")
    }
    assert list(peaks.values()) == [4e10, 1.6e11, 3.2e11, 6.4e11, 1.024e13]
    assert not cpu(Cpu(2, 8 << 30, frozenset({"avx512f"}))).bf16
    assert cpu(Cpu(2, 8 << 30, frozenset({"avx512_bf16"}))).bf16


def test_a_gpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    card = type("Card", (), {"name": "NVIDIA H100", "total_memory": 80 << 30, "major": 9})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: card)
    one = "NVIDIA H100, 80 GiB, bfloat16"
    assert checks()["GPU"] == doctor.Check("GPU", "good", f"{one}; {one}")


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A server that notes every request."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    http = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", seen
    http.shutdown()
    thread.join()
    http.server_close()


def test_the_hub_is_tried_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, server: tuple[str, list[str]]
) -> None:
    address, seen = server
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    checks()
    assert seen == []
    assert checks(hub=True)["hub"].found == f"{address} answers 200"
    assert seen == ["/"]
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    assert checks(hub=True)["hub"].state == "lacking"
