"""Redaction: what identifies or gives access to a person is replaced by a label."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from langraft.corpus.kernels.lines import DIGITS, DOTTED, number_flags
from langraft.corpus.kernels.texts import Texts

PATTERNS: Mapping[str, re.Pattern[str]] = {
    "email": re.compile(
        r"(?<![\w.+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])",
        re.ASCII,  # a Chinese character may stand right beside an address
    ),
    # GB 11643-1999: six digits of the region, date of birth, three of order, a check digit
    "identity": re.compile(
        r"(?<![0-9A-Za-z])[1-9]\d{5}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[0-9Xx]"
        r"(?![0-9A-Za-z])",
        re.ASCII,
    ),
    # mainland mobile numbers, with or without the country's code and separators
    "phone": re.compile(
        r"(?<![0-9A-Za-z.])(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?![0-9A-Za-z]|\.\d)",
        re.ASCII,
    ),
    "ip": re.compile(
        r"(?<![\w.])(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
        r"(?![\w]|\.\d)",
        re.ASCII,
    ),
    "key": re.compile(
        r"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[\s\S]{1,8000}?"
        r"-----END [A-Z ]{0,20}PRIVATE KEY-----"
        r"|(?<![0-9A-Za-z])(?:sk-(?:proj-|ant-)?[A-Za-z0-9_-]{32,200}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}"
        r"|AIza[0-9A-Za-z_-]{35}|xox[abprs]-[0-9A-Za-z-]{20,200})(?![0-9A-Za-z])"
    ),
}
_CHECK = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)  # weights of GB 11643-1999
_LAST = "10X98765432"
# Addresses that name no one: this machine, private networks, documentation (RFC 1918, 5737).
_HARMLESS_IP = re.compile(
    r"(?:0|10|127|192\.168|169\.254|172\.(?:1[6-9]|2\d|3[01])|192\.0\.2|198\.51\.100|203\.0\.113|255)\."
)
SMALL_PART = 30  # four parts below it are taken for a section or a version
_KEY_MARKS = (
    b"PRIVATE KEY",
    b"sk-",
    b"AKIA",
    b"ghp_",
    b"gho_",
    b"ghu_",
    b"ghs_",
    b"ghr_",
    b"AIza",
    b"xox",
)


def redact(texts: Texts, kinds: Sequence[str]) -> tuple[Texts, Counter[str], dict[int, str]]:
    """Replace every match of the named `PATTERNS` by its label, such as `<email>`.

    An identity number must have a right check digit; private and documentation IP addresses stay,
    and so does what looks like the number of a section.

    Returns:
        The texts, how many matches of each kind were replaced, and the changed texts by number.
    """
    flags = number_flags(texts)
    counts: Counter[str] = Counter()
    changes: dict[int, str] = {}
    for index in range(len(texts)):
        encoded = texts.encoded(index)
        wanted = [kind for kind in kinds if _possible(kind, encoded, int(flags[index]))]
        if not wanted:
            continue
        text = before = encoded.decode()
        for kind in wanted:
            text = _replace(kind, text, counts)
        if text != before:
            changes[index] = text
    return texts.replaced(changes), counts, changes


def _possible(kind: str, encoded: bytes, flags: int) -> bool:
    """A cheap test that passes every text with a match."""
    if kind == "email":
        return b"@" in encoded
    if kind == "key":
        return any(mark in encoded for mark in _KEY_MARKS)
    return bool(flags & (DOTTED if kind == "ip" else DIGITS))


def _replace(kind: str, text: str, counts: Counter[str]) -> str:
    def label(match: re.Match[str]) -> str:
        if kind == "identity" and not valid_identity(match[0]):
            return match[0]
        if kind == "ip" and not names_someone(match[0]):
            return match[0]
        counts[kind] += 1
        return f"<{kind}>"

    return PATTERNS[kind].sub(label, text)


def names_someone(address: str) -> bool:
    """Whether an IPv4 address is a public one and does not look like the number of a section or a
    version, such as 1.1.2.1.
    """
    if _HARMLESS_IP.match(address):
        return False
    return any(int(part) >= SMALL_PART for part in address.split("."))


def valid_identity(number: str) -> bool:
    """Whether the last digit of a mainland identity number is its checksum (GB 11643-1999)."""
    total = int(np.dot([int(digit) for digit in number[:17]], _CHECK))
    return _LAST[total % 11] == number[17].upper()
