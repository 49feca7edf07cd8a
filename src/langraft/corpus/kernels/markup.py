"""HTML in text: characters in known tags and entities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from langraft.corpus.kernels.compiling import compiled
from langraft.corpus.kernels.hashing import BASIS, PRIME, fnv

LONGEST_TAG = 1_000  # bytes
TAGS = [
    "a", "abbr", "address", "article", "aside", "audio", "b", "big", "blockquote", "body", "br",
    "button", "caption", "center", "cite", "code", "col", "colgroup", "dd", "del", "details",
    "div", "dl", "dt", "em", "figcaption", "figure", "font", "footer", "form", "h1", "h2", "h3",
    "h4", "h5", "h6", "head", "header", "hr", "html", "i", "iframe", "img", "input", "ins", "kbd",
    "label", "li", "link", "main", "meta", "nav", "noscript", "object", "ol", "option", "p",
    "param", "pre", "q", "s", "samp", "script", "section", "select", "small", "source", "span",
    "strike", "strong", "style", "sub", "summary", "sup", "svg", "table", "tbody", "td",
    "textarea", "tfoot", "th", "thead", "time", "title", "tr", "tt", "u", "ul", "var", "video",
    "wbr",
]  # fmt: skip
ENTITIES = [
    "amp", "apos", "bull", "copy", "gt", "hellip", "laquo", "ldquo", "lsquo", "lt", "mdash",
    "middot", "nbsp", "ndash", "quot", "raquo", "rdquo", "reg", "rsquo", "times", "trade",
]  # fmt: skip


def names(known: Sequence[str]) -> npt.NDArray[np.uint64]:
    """The sorted hashes of ASCII names, as the kernel computes them."""
    found = []
    for name in known:
        value = BASIS
        for byte in name.encode():
            value = (value ^ byte) * PRIME % 2**64
        found.append(value)
    return np.sort(np.array(found, np.uint64))


@compiled
def html_share(data: Any, start: Any, end: Any, tags: Any, entities: Any) -> Any:
    """The share of the characters in known tags and entities."""
    inside = characters = 0
    at = start
    while at < end:
        byte = data[at]
        size: Any = 0
        if byte == 60:
            size = _tag(data, at, end, tags)
        elif byte == 38:
            size = _entity(data, at, end, entities)
        for place in range(at, at + max(size, 1)):
            character = (data[place] & 0xC0) != 0x80
            characters += character
            inside += character and size > 0
        at += max(size, 1)
    return inside / max(1, characters)


@compiled
def _name(data: Any, at: Any, end: Any) -> Any:
    """Hash and end of the ASCII letters and digits at `at`, in lower case."""
    value = np.uint64(BASIS)
    while at < end:
        byte = data[at]
        if 65 <= byte <= 90:
            byte += 32
        if not (97 <= byte <= 122 or 48 <= byte <= 57):
            break
        value = fnv(value, byte)
        at += 1
    return value, at


@compiled
def _known(value: Any, names: Any) -> Any:
    place = np.searchsorted(names, value)
    return place < len(names) and names[place] == value


@compiled
def _tag(data: Any, at: Any, end: Any, tags: Any) -> Any:
    """Bytes of the tag that begins at `at`, or 0."""
    place = at + 1
    if place < end and data[place] == 47:
        place += 1
    value, place = _name(data, place, end)
    if place >= end or not _known(value, tags):
        return 0
    byte = data[place]
    if not (byte == 62 or byte == 47 or byte == 32 or byte == 9 or byte == 10):
        return 0
    while place < min(end, at + LONGEST_TAG):
        if data[place] == 62:
            return place + 1 - at
        if data[place] == 60:
            return 0
        place += 1
    return 0


@compiled
def _entity(data: Any, at: Any, end: Any, entities: Any) -> Any:
    """Bytes of the entity that begins at `at`, or 0."""
    place = at + 1
    if place < end and data[place] == 35:
        first = place + 1
        _, place = _name(data, first, end)
        good = first < place < first + 8
    else:
        value, place = _name(data, place, end)
        good = _known(value, entities)
    return place + 1 - at if good and place < end and data[place] == 59 else 0
