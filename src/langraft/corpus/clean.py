"""Normalisation: one way to write a character, a line end and a paragraph break."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langraft.corpus.kernels.texts import Texts
    from langraft.recipe import Clean

# NFKC folds full-width letters and digits, ligatures, half-width kana and compatibility ideographs,
# which is wanted. It also rewrites what carries meaning or is simply how the language is written;
# these code points stay as they are.
FULL_WIDTH = "！（），：；？［］｛｝～"  # Chinese and Japanese punctuation: NFKC makes it ASCII
KEPT = (
    "…‥"  # the Chinese ellipsis …… would become six full stops
    "²³¹⁰-ₜ"  # superscripts and subscripts: 10² would become 102
    "¼-¾⅐-⅟↉"  # fractions: 1½ would become 11⁄2
    "①-⓿㉑-㉟㊀-㊉㊱-㊿"  # circled numbers: 第①条 is not 第1条, and ①0 is not 10
    "¨¯´¸˘-˝‗‾￣"  # spacing accents: NFKC would make each a space and a loose combining mark
)

# Invisible characters that only break matching: controls, soft hyphen, zero-width space, word
# joiner, byte order mark, bidirectional embeddings and overrides. The joiners U+200C and U+200D
# stay: Persian, Indic scripts and emoji need them.
INVISIBLE = "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069"
LINE_ENDS = "\r\x0b\x0c\x85\u2028\u2029"
_INVISIBLE_RUN = re.compile(f"[{INVISIBLE}]+")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_BLANK_LINES = re.compile("\n{3,}")
_INNER_SPACES = re.compile(r"(?<=[^ \t\n])[ \t]+")

# A wrong decoding leaves pairs like `Ã©`, `â€™` and, of Chinese, runs such as `ä¸­æ–‡`: letters
# of Latin-1 or Windows-1252 right behind one that starts a UTF-8 sequence. Real text has few.
_MOJIBAKE = re.compile(r"[ÂÃâäåæçèéïð][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]")
SUSPICIOUS = 2  # such pairs: one alone may be meant


def normalise(text: str, kept: str, single_spaces: bool) -> str:
    """Bring `text` into one form; doing it twice changes nothing more.

    Unicode NFKC except the code points in `kept` (the inside of a character class); no control or
    invisible characters; every line end `\\n`; no spaces or tabs at line ends; at most one blank
    line in a row; none at the start or the end. With `single_spaces`, one blank for every run of
    blanks and tabs that is not a line's indentation.
    """
    text = _LINE_END.sub("\n", _INVISIBLE_RUN.sub("", text))
    if not text.isascii():
        text = _compose(text, kept)
    # not the regex `[ \t]+$`, which takes quadratic time on a long run of spaces inside a line
    text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
    text = _BLANK_LINES.sub("\n\n", text).strip("\n")
    return _INNER_SPACES.sub(" ", text) if single_spaces else text


def _compose(text: str, kept: str) -> str:
    """NFKC of everything between runs of `kept`.

    No NFKC form holds a kept character, so a second pass splits alike and changes nothing.
    """
    parts = re.split(f"([{kept}]+)", text)
    parts[::2] = [unicodedata.normalize("NFKC", part) for part in parts[::2]]
    return "".join(parts)


def kept_by(settings: Clean) -> str:
    """The inside of the character class that NFKC leaves alone."""
    return KEPT + FULL_WIDTH if settings.full_width == "keep" else KEPT


def clean(texts: Texts, settings: Clean) -> Texts:
    """Every text repaired where its encoding was confused, normalised, and simplified, as the
    recipe says.
    """
    if settings.ftfy:
        texts = repair(texts)
    if settings.normalise == "nfkc":
        from langraft.corpus.kernels.normal import normalised, table

        kept = kept_by(settings)
        how = table(kept, INVISIBLE, LINE_ENDS)
        done, hard = normalised(texts, how, settings.single_spaces)
        texts = done.replaced(
            {index: normalise(texts[index], kept, settings.single_spaces) for index in hard}
        )
    return simplify(texts) if settings.simplify else texts


def repair(texts: Texts) -> Texts:
    """Texts that look like UTF-8 read as Windows-1252 get ftfy's repair; all others stay."""
    # Every pair begins with one of these bytes in UTF-8; most texts have none and are not decoded.
    changes = {}
    for index in range(len(texts)):
        encoded = texts.encoded(index)
        if b"\xc3" not in encoded and b"\xc2" not in encoded:
            continue
        text = encoded.decode()
        if len(_MOJIBAKE.findall(text)) >= SUSPICIOUS:
            import ftfy

            mended = ftfy.fix_encoding(text)
            if mended != text:
                changes[index] = mended
    return texts.replaced(changes)


def simplify(texts: Texts) -> Texts:
    """Traditional Chinese characters become simplified ones (OpenCC's `t2s`)."""
    converter = _converter()
    changes = {}
    for index, text in enumerate(texts):
        if not text.isascii() and (simple := converter.convert(text)) != text:
            changes[index] = simple
    return texts.replaced(changes)


def _converter() -> Any:
    import opencc

    return opencc.OpenCC("t2s")
