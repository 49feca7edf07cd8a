"""The ways of 2023: a vocabulary made elsewhere, its missing pieces appended.

`union` takes a SentencePiece model, or trains one; `characters` takes single characters only;
`list` takes a file of pieces, shortest first. All are appended with strictly falling scores behind
the base's, where the originals gave every new piece the score 0: SentencePiece, transformers and
llama.cpp then agree on every line. Nothing makes sure here that a piece can be produced.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from langraft.core.errors import BadInput
from langraft.core.io import open_binary
from langraft.core.messages import warn
from langraft.tokenizer.alphabet import split_partial
from langraft.tokenizer.encoder import BYTE_LEVEL, Encoder
from langraft.tokenizer.extend import Rules, added, open_base, write_extended
from langraft.tokenizer.learn import Candidates
from langraft.tokenizer.proofs import reachable
from langraft.tokenizer.pruning import Learned
from langraft.tokenizer.runs import read_corpus
from langraft.tokenizer.scripts import read_scripts
from langraft.tokenizer.sentencepiece_model import NORMAL, SPACE, parse_model

LONGEST_LINE = 4_192 * 4


def append_pieces_to(
    base: Path,
    pieces: Callable[[Encoder], Iterable[str]],
    *,
    out: Path,
    size: int | None = None,
    rules: Rules | None = None,
    reachable_only: bool = False,
    pad_token: str | None = None,
) -> dict[str, Any]:
    """Append those of `pieces` that the base lacks, in their order, and write all to `out`.

    Args:
        base: a SentencePiece BPE tokenizer.
        pieces: gives the pieces as they are written in the vocabulary (a space is `▁`).
        size: most pieces to append.
        rules: where given, pieces that hold other characters than its scripts' are left out.
        reachable_only: leave out pieces that no text produces.
        pad_token: as for `extend_tokenizer`.

    Returns:
        What `added` says, and: offered, known (in the base already), foreign (left out for their
        script), unreachable (pieces appended, or left out, that merging never produces).

    Raises:
        BadInput: the base is byte-level, or has no scores to append to.
    """
    encoder = open_base(base, out, pad_token)
    if encoder.family == BYTE_LEVEL or encoder.model is None:
        raise BadInput(
            f"{base}: pieces are appended to SentencePiece models only; "
            "use continued-bpe for a byte-level base"
        )
    offered = list(dict.fromkeys(pieces(encoder)))
    missing = [piece for piece in offered if piece not in encoder.vocabulary]
    own = missing if rules is None else [p for p in missing if _allowed(p, rules)]
    chosen = own[:size]
    silent = _unreachable(encoder, chosen)
    if reachable_only:
        dead = set(_unreachable(encoder, own))
        chosen = [piece for piece in own if piece not in dead][:size]
    if size is not None and len(chosen) < size:
        warn(f"{len(chosen)} pieces instead of {size}: there are no more to append")
    learned = _learned(chosen)
    write_extended(encoder, learned, out, pad_token)
    return added(encoder, learned) | {
        "offered": len(offered),
        "known": len(offered) - len(missing),
        "foreign": len(missing) - len(own),
        "unreachable": len(silent),
    }


def _learned(pieces: Sequence[str]) -> Learned:
    data = [piece.replace(SPACE, " ").encode() for piece in pieces]
    return Learned(data, [], {}, 0, 0, [])


def _allowed(piece: str, rules: Rules) -> bool:
    word = piece.replace(SPACE, " ")
    scripts = read_scripts(rules.scripts)
    return bool(scripts.kind(word.encode())) and len(word.strip()) <= rules.max_piece_characters


def _unreachable(base: Encoder, pieces: Sequence[str]) -> list[str]:
    """Those of `pieces` that no context produces when all of them are appended."""
    from langraft.tokenizer.extend import extended_encoder

    after = extended_encoder(base, _learned(pieces))
    silent = reachable(base, after).silent
    return [pieces[index - base.size] for index in silent]


def union_pieces(path: Path) -> Callable[[Encoder], list[str]]:
    """The normal pieces of a SentencePiece model of any kind, in their order.

    Raises:
        BadInput: the file is not such a model.
    """
    model = parse_model(path)
    found = [entry.piece for entry in model.pieces if entry.type == NORMAL]
    return lambda base: found


def trained_pieces(
    texts: Iterable[str], size: int, kind: str = "unigram"
) -> Callable[[Encoder], list[str]]:
    """The pieces of a SentencePiece model trained on `texts`, with Chinese-LLaMA's settings.

    Args:
        size: its vocabulary; the base has some of its pieces already.
        kind: "unigram" or "bpe".

    Raises:
        BadInput: the text is too short for so many pieces.
    """
    written = io.BytesIO()
    lines = (line for text in texts for line in text.splitlines() if line.strip())
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=written,
            model_type=kind,
            vocab_size=size,
            character_coverage=0.9995,
            max_sentence_length=LONGEST_LINE,
            num_threads=2,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise BadInput(f"size: {size} pieces cannot be trained from this text ({error})") from error
    model = parse_model(Path("the trained model"), written.getvalue())
    found = [entry.piece for entry in model.pieces if entry.type == NORMAL]
    return lambda base: found


def listed_pieces(path: Path) -> Callable[[Encoder], list[str]]:
    """Colossal's file of pieces: one JSON object a line with the field `piece`; shortest first.

    Raises:
        BadInput: a line is not of that form; the message names it.
    """
    found = sorted(dict.fromkeys(_read_list(path)), key=len)
    return lambda base: found


def _read_list(path: Path) -> Iterator[str]:
    with open_binary(path) as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            try:
                piece = json.loads(line)["piece"]
            except (ValueError, KeyError, TypeError) as error:
                raise BadInput(
                    f'{path}:{number}: expected {{"piece": "..."}}, found {line[:60]!r}'
                ) from error
            if not isinstance(piece, str) or not piece:
                raise BadInput(f"{path}:{number}: piece is {piece!r}, a text was expected")
            yield piece.replace(" ", SPACE)


def extend_by_characters(
    base: Path,
    texts: Iterable[str],
    *,
    size: int,
    rules: Rules,
    out: Path,
    pad_token: str | None = None,
) -> dict[str, Any]:
    """Add the `size` most frequent characters that the base spells in several tokens, no words.

    Works for both families; a byte-level base also gets the beginnings that characters share.

    Returns:
        As `append_pieces_to`, without the counts of pieces left out.
    """
    encoder = open_base(base, out, pad_token)
    corpus = read_corpus(encoder, texts, read_scripts(rules.scripts))
    everything = Candidates.of(corpus, 1, rules.min_frequency, 1)
    learned = everything.characters_only().choose(size)
    if len(learned.pieces) < size:
        warn(f"{len(learned.pieces)} pieces instead of {size}: the text holds no more characters")
    write_extended(encoder, learned, out, pad_token)
    partial = sum(1 for piece in learned.pieces if not _whole(piece))
    return added(encoder, learned) | {"scaffolds": partial, "characters": corpus.characters}


def _whole(piece: bytes) -> bool:
    parts = split_partial(piece)
    return parts is not None and not parts[1]
