"""A model folder onto the Hugging Face hub: private unless asked otherwise, nothing unlisted."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
)

from langraft.core.errors import BadInput, RunFailed
from langraft.export.card import README

# What a model folder of ours may hold. Everything else is refused by name: a folder that training
# worked in may hold texts, states, or somebody's keys.
LISTED = (
    *("config.json", "generation_config.json", "langraft.json", "chat_template.jinja"),
    *("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt"),
    *("README.md", "manifest.json", "LICENSE*", "NOTICE*", "USE_POLICY*"),
    *("*.safetensors", "*.safetensors.index.json", "*.gguf", "*Modelfile*"),
    *("adapter/adapter_config.json", "adapter/*.safetensors", "adapter/langraft.json"),
    *("adapter/README.md", "preprocessor_config.json", "quantization_config.json"),
)
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz", ".joblib")
HEAD = 2  # bytes: a pickle of protocol 2 and later starts with 0x80 and its number, a zip with PK


def files_to_push(folder: Path, leave_out: Sequence[str] = ()) -> list[str]:
    """The files of a model folder, relative to it.

    Args:
        leave_out: names or globs that stay behind.

    Raises:
        BadInput: no model there; a pickle; a link; a file that is not listed.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or any(fnmatch.fnmatch(name, pattern) for pattern in leave_out):
            continue
        if path.is_symlink():
            raise BadInput(f"{path}: a link; copy the file into the folder")
        _refuse(path, name)
        found.append(name)
    if not any(name.endswith((".safetensors", ".gguf")) for name in found):
        raise BadInput(f"{folder}: holds no .safetensors or .gguf, so it is not a model")
    return found


def _refuse(path: Path, name: str) -> None:
    with path.open("rb") as stream:
        head = stream.read(HEAD)
    pickled = head[:1] == b"\x80" and head[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")
    if path.suffix in PICKLES or pickled:
        raise BadInput(
            f"{path}: a pickle, which runs code where it is loaded; langraft uploads none. "
            "`langraft checkpoint convert` makes safetensors of weights"
        )
    if not any(fnmatch.fnmatch(name, pattern) for pattern in LISTED):
        raise BadInput(
            f"{path}: not a file that a model consists of, so it is not uploaded unasked; remove "
            f"it, or leave it behind: --leave-out {name!r}"
        )


def push(
    folder: Path, repo: str, *, public: bool = False, leave_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Upload a model folder and its card as one commit.

    The token is that of the environment (`HF_TOKEN`) or of `hf auth login`; it is never an
    argument.

    Returns:
        The commit's address, whether the repository is private, and the files.

    Raises:
        BadInput: see `files_to_push`; no card; no login; a bad or foreign repository name; the
            repository is public and `public` is not said.
        RunFailed: the hub refuses.
    """
    names = files_to_push(folder, leave_out)
    if README not in names:
        raise BadInput(f"{folder}: has no {README}; write one first: langraft export card {folder}")
    if get_token() is None:
        raise BadInput("no login for the hub: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(library_name="langraft")
    try:
        there = _existing(api, repo)
        if there is not None and not there.private and not public:
            raise BadInput(
                f"--repo {repo}: is there already and public; say --public if that is meant"
            )
        api.create_repo(repo, private=not public, exist_ok=True)
        commit = api.upload_folder(
            folder_path=folder,
            repo_id=repo,
            allow_patterns=[_literal(name) for name in names],
            commit_message=f"{folder.resolve().name}, made with langraft",
        )
    except HFValidationError as error:
        raise BadInput(f"--repo {repo!r}: {error}") from error
    except HfHubHTTPError as error:
        raise RunFailed(_refused(repo, error)) from error
    except (OSError, RuntimeError, ValueError) as error:  # how the library reports a lost upload
        raise RunFailed(f"--repo {repo}: the upload broke off ({error}); try again") from error
    private = there.private if there is not None else not public
    return {"repo": repo, "private": private, "commit": commit.commit_url, "files": names}


def _existing(api: HfApi, repo: str) -> Any:
    try:
        return api.model_info(repo)
    except RepositoryNotFoundError:
        return None


def _literal(name: str) -> str:
    """A pattern that matches this name alone."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _refused(repo: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code if error.response is not None else 0
    why = {
        401: "the token is not valid; log in again: hf auth login",
        403: "the token may not write there; make one with the right to write",
        409: "the hub reports a conflict; try again",
    }.get(status, "see its message")
    return f"--repo {repo}: the hub answers {status}: {why} ({str(error).splitlines()[0]})"
