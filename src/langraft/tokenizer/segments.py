"""How an extended tokenizer's pieces lie on the base's tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from langraft.core.errors import BadInput
from langraft.tokenizer.encoder import Encoder


def subtokens(base: Encoder, extended: Encoder) -> list[list[int]]:
    """For every added id, in order, the base ids that spell exactly its bytes in mid-text.

    They come from the base's merges alone, so SentencePiece's dummy prefix is not among them, and a
    byte-level piece that ends inside a character is spelt too. An id between the two sizes that no
    piece has gives an empty list.

    Raises:
        BadInput: the base cannot spell a piece.
    """
    found = []
    for index in range(base.size, extended.size):
        data = extended.piece_bytes(index)
        ids = base.spell(data)
        if b"".join(base.bytes_by_id[each] for each in ids) != data:
            raise BadInput(
                f"{extended.path}: the base {base.path} cannot spell piece {index} "
                f"({extended.piece_text(index)!r}); give the tokenizer that this one was made from"
            )
        found.append(ids)
    return found


def align(
    base_ids: Sequence[int], extended_ids: Sequence[int], base: Encoder, extended: Encoder
) -> list[int]:
    """For every extended token of a text, the index of the base token that ends at the same byte.

    Continued BPE merges whole base tokens, so there always is one.

    Args:
        base_ids: the text as the base encodes it, n tokens.
        extended_ids: the same text as the extended tokenizer encodes it, m <= n tokens.

    Returns:
        m strictly rising indices into `base_ids`; the last is n - 1.

    Raises:
        BadInput: the two encodings do not spell the same bytes, or a token ends where no base
            token does.
    """
    ends = np.cumsum(base.byte_lengths[np.asarray(base_ids, dtype=np.int64)])
    wanted = np.cumsum(extended.byte_lengths[np.asarray(extended_ids, dtype=np.int64)])
    total, new_total = int(ends[-1]) if len(ends) else 0, int(wanted[-1]) if len(wanted) else 0
    if total != new_total:
        raise BadInput(
            f"{extended.path}: its tokens spell {new_total} bytes and those of {base.path} spell "
            f"{total}; align takes two encodings of one text"
        )
    places = np.searchsorted(ends, wanted)
    straddling = np.flatnonzero(ends[places] != wanted)
    if len(straddling):
        piece = extended.piece_text(extended_ids[int(straddling[0])])
        raise BadInput(
            f"{extended.path}: token {straddling[0]} ({piece!r}) ends where no token of "
            f"{base.path} ends; align takes two encodings of one text, the second by an "
            "extension of the first"
        )
    return [int(place) for place in places]
