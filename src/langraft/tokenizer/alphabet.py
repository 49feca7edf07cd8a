"""The byte alphabet of byte-level BPE, and where characters begin and end in a string of bytes."""

from __future__ import annotations


def _byte_symbols() -> dict[int, str]:
    """GPT-2's table: printable bytes stand for themselves, others for code points from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + n) for n, byte in enumerate(hidden)
    }


SYMBOL_OF_BYTE = _byte_symbols()
BYTE_OF_SYMBOL = {symbol: byte for byte, symbol in SYMBOL_OF_BYTE.items()}


def to_symbols(data: bytes) -> str:
    """`data` in the alphabet that byte-level vocabularies are written in (a space is `Ġ`)."""
    return "".join(SYMBOL_OF_BYTE[byte] for byte in data)


def from_symbols(symbols: str) -> bytes:
    """The bytes that a byte-level vocabulary entry stands for.

    Raises:
        KeyError: `symbols` holds a character outside the alphabet, as special tokens may.
    """
    return bytes(BYTE_OF_SYMBOL[symbol] for symbol in symbols)


def is_continuation(byte: int) -> bool:
    """Whether `byte` is the second or a later byte of a UTF-8 character (10xxxxxx)."""
    return byte & 0xC0 == 0x80


def split_partial(data: bytes) -> tuple[str, bytes] | None:
    """Whole characters at the front of `data`, and the bytes of one unfinished character at its
    end.

    Returns:
        None when `data` is not the beginning of valid UTF-8.
    """
    for cut in range(len(data), max(-1, len(data) - 4), -1):
        try:
            text = data[:cut].decode()
        except UnicodeDecodeError:
            continue
        tail = data[cut:]
        return (text, tail) if not tail or completions(tail) else None
    return None


def completions(prefix: bytes) -> range:
    """The code points whose UTF-8 form begins with `prefix` (1 to 3 bytes of one character); empty
    when there are none.
    """
    length = _length(prefix[0])
    missing = length - len(prefix)
    if length < 2 or missing < 0 or not all(is_continuation(byte) for byte in prefix[1:]):
        return range(0)
    value = prefix[0] & (0x7F >> length)
    for byte in prefix[1:]:
        value = value << 6 | byte & 0x3F
    smallest = {2: 0x80, 3: 0x800, 4: 0x10000}[length]
    first, last = value << 6 * missing, (value + 1) << 6 * missing
    return range(max(first, smallest), min(last, 0x110000))


def _length(lead: int) -> int:
    for length, low, high in ((2, 0xC2, 0xDF), (3, 0xE0, 0xEF), (4, 0xF0, 0xF4)):
        if low <= lead <= high:
            return length
    return 0
