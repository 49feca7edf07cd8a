"""SentencePiece's own file, and the `tokenizer.json` that gives the same ids."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2 as proto

from langraft.core.errors import BadInput

SPACE = "▁"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BPE = 2


def empty_model() -> Any:
    """A model to fill."""
    return proto.ModelProto()


def parse_model(path: Path, data: bytes | None = None) -> Any:
    """The protobuf in a SentencePiece model of any kind.

    Args:
        path: the file, which errors name.
        data: its content, where it was read already.

    Raises:
        BadInput: the file is missing or is not SentencePiece's.
    """
    model = proto.ModelProto()
    try:
        model.ParseFromString(path.read_bytes() if data is None else data)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except DecodeError as error:
        raise BadInput(f"{path}: not a SentencePiece model ({error})") from error
    if not model.pieces:
        raise BadInput(f"{path}: not a SentencePiece model (it holds no pieces)")
    return model


def read_model(path: Path) -> Any:
    """The protobuf in a `tokenizer.model` that can be extended.

    Raises:
        BadInput: as for `parse_model`, or the model is not BPE.
    """
    model = parse_model(path)
    if model.trainer_spec.model_type != BPE:
        kind = proto.TrainerSpec.ModelType.Name(model.trainer_spec.model_type).lower()
        raise BadInput(
            f"{path}: a {kind} model; only BPE can be continued. "
            "Choose another base, or keep its vocabulary"
        )
    return model


def splits(piece: str, known: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make `piece` from two known pieces, shortest left part first."""
    cuts = ((piece[:n], piece[n:]) for n in range(1, len(piece)))
    return [(left, right) for left, right in cuts if left in known and right in known]


def scored_merges(model: Any) -> list[tuple[str, str]]:
    """All merges of a SentencePiece BPE model, best score first, as `tokenizers` ranks them.

    SentencePiece has no merges: it joins the neighbours whose concatenation has the best score.
    Equal scores keep their order in the file.
    """
    normal = [(entry.piece, entry.score) for entry in model.pieces if entry.type == NORMAL]
    known = {piece: index for index, (piece, _) in enumerate(normal)}
    ranked = sorted(normal, key=lambda entry: -entry[1])
    return [pair for piece, _ in ranked for pair in splits(piece, known)]


def definition_of(model: Any) -> dict[str, Any]:
    """The `tokenizer.json` of a bare `tokenizer.model`: same ids, special tokens as SentencePiece
    names them.
    """
    vocabulary = {entry.piece: index for index, entry in enumerate(model.pieces)}
    special = [
        {
            "id": index,
            "content": entry.piece,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
        }
        | {"normalized": False, "special": entry.type != USER_DEFINED}
        for index, entry in enumerate(model.pieces)
        if entry.type in (UNKNOWN, CONTROL, USER_DEFINED)
    ]
    unknown = next((entry.piece for entry in model.pieces if entry.type == UNKNOWN), None)
    bytes_fall_back = any(entry.type == BYTE for entry in model.pieces)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": _normalizer(model.normalizer_spec),
        "pre_tokenizer": None,
        "post_processor": _post_processor(vocabulary),
        "decoder": _decoder(model.normalizer_spec.add_dummy_prefix),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": unknown,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": bytes_fall_back,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [list(pair) for pair in scored_merges(model)],
        },
    }


def _normalizer(spec: Any) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    if spec.precompiled_charsmap:
        steps.append(
            {
                "type": "Precompiled",
                "precompiled_charsmap": base64.b64encode(spec.precompiled_charsmap).decode(),
            }
        )
    if spec.remove_extra_whitespaces:
        steps.append({"type": "Strip", "strip_left": True, "strip_right": True})
        steps.append({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "})
    if spec.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
    steps.append({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})
    return {"type": "Sequence", "normalizers": steps}


def _post_processor(vocabulary: dict[str, int]) -> dict[str, Any] | None:
    """LLaMA's habit: the beginning-of-text token in front, nothing at the end."""
    if "<s>" not in vocabulary:
        return None
    bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
    first, second = {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}
    second_bos = {"SpecialToken": {"id": "<s>", "type_id": 1}}
    return {
        "type": "TemplateProcessing",
        "single": [bos, first],
        "pair": [bos, first, second_bos, second],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [vocabulary["<s>"]], "tokens": ["<s>"]}},
    }


def _decoder(dummy_prefix: bool) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if dummy_prefix:
        steps.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": steps}


def append_pieces(model: Any, fillers: Iterable[tuple[str, int]], pieces: Sequence[str]) -> None:
    """Append to `model` in place: `fillers` (piece, type) that keep ids in step with tokens added
    above the model's own,
    then `pieces` as normal ones with strictly decreasing scores below every base score.

    Scores are float32: where one less cannot be told apart (LLaMA-2's `▁▁` has -1e9), the next
    lower number is taken.
    """
    lowest = np.float32(min(entry.score for entry in model.pieces))
    for piece, kind in fillers:
        model.pieces.add(piece=piece, score=0.0, type=kind)
    for piece in pieces:
        lowest = min(np.float32(lowest - np.float32(1)), np.nextafter(lowest, np.float32(-np.inf)))
        model.pieces.add(piece=piece, score=float(lowest), type=NORMAL)
    model.trainer_spec.vocab_size = len(model.pieces)


def shared_scores(model: Any) -> bool:
    """Whether two pieces that merging makes have the same score; runs of spaces apart, which in
    LLaMA's model all have -1e9 and give the same ids either way.
    """
    made = (e for e in model.pieces if e.type == NORMAL and len(e.piece.replace(SPACE, "")) > 0)
    scores = [entry.score for entry in made if len(entry.piece) > 1]
    return len(set(scores)) < len(scores)


def load_processor(model: Any) -> Any:
    """SentencePiece itself, with this model."""
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def sentencepiece_ids(model: Any, texts: Sequence[str]) -> list[list[int]]:
    """What SentencePiece itself makes of `texts`: the referee for our `tokenizer.json`."""
    return [list(ids) for ids in load_processor(model).encode(list(texts))]
