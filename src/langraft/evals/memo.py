"""Texts to ids: many at a time, each once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

MOST = 4_096


class Memo:
    """An encoder that remembers its last few thousand texts: options repeat their context, items
    their letters.

    Args:
        encode_batch: texts to ids, with the special tokens that the tokenizer adds by itself or
            without; the libraries encode a batch on all cores.
    """

    def __init__(self, encode_batch: Callable[[list[str], bool], list[list[int]]]) -> None:
        self._encode_batch = encode_batch
        self._known: dict[tuple[str, bool], list[int]] = {}

    def __call__(self, text: str, special: bool) -> list[int]:
        """The ids of one text; not to be changed."""
        self.fill([text], special)
        return self._known[text, special]

    def fill(self, texts: Iterable[str], special: bool) -> None:
        """Encode those that are new, together, for what will be asked next."""
        wanted = list(dict.fromkeys(texts))
        new = [text for text in wanted if (text, special) not in self._known]
        if not new:
            return
        if len(self._known) + len(new) > MOST:
            self._known = {}
            new = wanted
        for text, ids in zip(new, self._encode_batch(new, special), strict=True):
            self._known[text, special] = ids
