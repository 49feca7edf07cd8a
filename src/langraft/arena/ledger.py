"""What was asked and answered, on disk: a kill loses nothing that was paid for."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from langraft.core.errors import BadInput
from langraft.core.io import disk_errors


def fingerprint(*asked: Any) -> str:
    """A short digest of what was asked: another question, template, answer or setting is another
    row.
    """
    content = json.dumps(asked, ensure_ascii=True, sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:16]


class Ledger:
    """An append-only JSON-lines file, keyed; a line cut short by a kill is dropped and done
    again.
    """

    def __init__(self, path: Path, key: Callable[[Mapping[str, Any]], str]) -> None:
        self._path, self._key, self._lock = path, key, threading.Lock()
        self.rows: dict[str, dict[str, Any]] = {}
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                self.rows[key(row)] = row
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(f"{path}:{number}: not a line of this file ({error})") from error
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if whole != content:
                path.write_bytes(whole)

    def add(self, row: dict[str, Any]) -> None:
        """Append one row and flush it."""
        line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
        with self._lock, disk_errors(self._path), self._path.open("ab") as stream:
            stream.write(line)
            self.rows[self._key(row)] = row
