"""Exact duplicates: the first document in reading order stays."""

from __future__ import annotations

import hashlib

KEY_BYTES = (
    16  # 64 bits are too short at billions of documents: one collision is expected at 5 billion
)


def document_key(text: str) -> bytes:
    """The 128-bit BLAKE2b hash of `text` without its white space: layout does not make a document
    new.
    """
    return hashlib.blake2b("".join(text.split()).encode(), digest_size=KEY_BYTES).digest()


class ExactDedup:
    """Remembers the key of every document it has seen, over all sources."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def is_new(self, key: bytes) -> bool:
        """Whether `key` comes for the first time; it is remembered."""
        before = len(self._seen)
        self._seen.add(key)
        return len(self._seen) > before
