"""Uploads, against a hub on this machine."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, serving

from langraft.core.errors import BadInput
from langraft.export.push import files_to_push

CARD = "---\nlicense: mit\n---\n\n# small\n"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving(Hub()) as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files as a model folder has them; the weights are bytes that are not read."""
    made = tmp_path / "small"
    (made / "adapter").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 64)
    (made / "adapter" / "adapter_model.safetensors").write_bytes(b"rank 8" * 100)
    (made / "adapter" / "adapter_config.json").write_text("{}")
    (made / "config.json").write_text('{"model_type": "llama"}')
    (made / "tokenizer.json").write_text("{}")
    (made / "README.md").write_text(CARD)
    return made


def push(hub: Hub, folder: Path, *options: str, token: str | None = "hf_test") -> Any:
    """The verb in a process of its own, as the hub's library reads its settings once."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    kept |= {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
    kept |= {"HF_HOME": str(folder.parent / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    kept |= {"HF_TOKEN": token} if token else {}
    command = [sys.executable, "-m", "langraft", "export", "push", str(folder)]
    command += ["--repo", "me/small", *options, "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=kept)


def test_a_folder_arrives_whole_and_private(hub: Hub, folder: Path) -> None:
    done = push(hub, folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    repo = hub.repos["me/small"]
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert repo["private"] is True and told["private"] is True
    assert repo["files"] == {name: path.read_bytes() for name, path in files.items()}
    assert set(hub.objects.values()) == {
        path.read_bytes() for name, path in files.items() if name.endswith(".safetensors")
    }
    assert hub.commits == [("me/small", "small, made with langraft")]
    assert told["commit"].startswith(f"{hub.address}/me/small/commit/")
    assert "hf_test" not in done.stdout + done.stderr
    again = push(hub, folder, "--public")  # what is there stays as private as it is
    assert again.returncode == 0 and hub.repos["me/small"]["private"] is True
    assert json.loads(again.stdout.splitlines()[-1])["private"] is True


def test_public_only_when_it_is_said(hub: Hub, folder: Path) -> None:
    hub.repos["me/small"] = {"private": False, "files": {}}
    refused = push(hub, folder)
    assert refused.returncode == 2 and "say --public" in " ".join(refused.stderr.split())
    assert hub.commits == []
    assert push(hub, folder, "--public").returncode == 0
    assert len(hub.commits) == 1


def test_without_a_card_one_is_written(hub: Hub, folder: Path) -> None:
    (folder / "README.md").unlink()
    assert push(hub, folder).returncode == 0
    card = hub.repos["me/small"]["files"]["README.md"].decode()
    assert card.startswith("---\n") and "license: unknown" in card


@pytest.mark.parametrize(
    ("token", "code", "message"),
    [(None, 2, "no login for the hub"), ("hf_other", 1, "the hub answers 401")],
)
def test_tokens(hub: Hub, folder: Path, token: str | None, code: int, message: str) -> None:
    done = push(hub, folder, token=token)
    assert done.returncode == code and message in " ".join(done.stderr.split())
    assert hub.repos == {} and (token or "hf_") not in done.stderr


def test_a_store_that_refuses(hub: Hub, folder: Path) -> None:
    hub.broken_store = True
    done = push(hub, folder)
    assert done.returncode == 1 and "the upload broke off" in " ".join(done.stderr.split())
    assert hub.commits == []


def test_a_bad_name(hub: Hub, folder: Path) -> None:
    done = push(hub, folder, "--repo", "me/small/too")
    assert done.returncode == 2 and "me/small/too" in done.stderr and hub.requests == []


def write(folder: Path, name: str, content: bytes = b"x") -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("pytorch_model.bin", b"x", "a pickle"),
        ("optimizer.pt", b"x", "a pickle"),
        ("model-00001.safetensors", pickle.dumps({"a": 1}), "a pickle"),
        ("unfit.jsonl", b"x", "--leave-out 'unfit.jsonl'"),
        (".env", b"x", "not a file that a model consists of"),
        ("checkpoint/state.json", b"x", "not a file that a model consists of"),
        ("modeling_small.py", b"x", "not a file that a model consists of"),
    ],
)
def test_what_is_refused(folder: Path, name: str, content: bytes, message: str) -> None:
    write(folder, name, content)
    with pytest.raises(BadInput, match=message):
        files_to_push(folder)
    assert name not in files_to_push(folder, [name])


def test_links_and_folders_without_a_model(folder: Path, tmp_path: Path) -> None:
    (folder / "LICENSE").symlink_to(tmp_path / "secret")
    with pytest.raises(BadInput, match="a link"):
        files_to_push(folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadInput, match=r"no \.safetensors or \.gguf"):
        files_to_push(empty)
    with pytest.raises(BadInput, match="no such folder"):
        files_to_push(tmp_path / "none")
