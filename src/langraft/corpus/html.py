"""Leftover HTML: known tags go, entities are spelled out, scripts go with their content."""

from __future__ import annotations

import html
import re

from langraft.corpus.kernels.markup import ENTITIES, TAGS

_HIDDEN = re.compile(
    r"<(script|style|noscript|template)\b[^<>]*>.*?</\1\s*>|<!--.*?-->", re.I | re.S
)
_BREAK = re.compile(r"<(?:br|hr|/p|/div|/li|/tr|/h[1-6]|/table|/ul|/ol)(?=[>/ \t\n])[^<>]*>", re.I)
_TAG = re.compile(rf"</?(?:{'|'.join(TAGS)})(?=[>/ \t\n])[^<>]*>", re.I | re.A)
_ENTITY = re.compile(rf"&(?:{'|'.join(ENTITIES)}|#\d{{1,7}}|#x[0-9a-f]{{1,6}});", re.I | re.A)
_CODE = re.compile(r"^(?:```|~~~)", re.M)
_BLANK = re.compile(r"\n[ \t]*(?:\n[ \t]*){2,}")


def plain(encoded: bytes) -> str | None:
    """The text without HTML, or None if it has none or holds fenced code, where tags are meant."""
    if b"<" not in encoded and b"&" not in encoded:
        return None
    text = encoded.decode()
    if _CODE.search(text) or not (_TAG.search(text) or _ENTITY.search(text)):
        return None
    text = _TAG.sub("", _BREAK.sub("\n", _HIDDEN.sub("", text)))
    text = _ENTITY.sub(lambda match: html.unescape(match[0]).replace("\xa0", " "), text)
    return _BLANK.sub("\n\n", text).strip("\n")
