"""llama.cpp as a referee: our vocabulary in its own file format, read by its own code."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from langraft.core.errors import RunFailed
from langraft.tokenizer.encoder import BYTE_LEVEL, Encoder
from langraft.tokenizer.formats import name_of
from langraft.tokenizer.sentencepiece_model import CONTROL, NORMAL, UNUSED, USER_DEFINED

# llama_model_params is passed by value; more room than it takes does no harm.
PARAMETERS_BYTES = 256
VOCABULARY_ONLY = 72  # where its flag stands
SIZES = {"block_count": 1, "context_length": 64, "embedding_length": 64, "feed_forward_length": 64}


class _Parameters(ctypes.Structure):
    _fields_ = (("room", ctypes.c_ubyte * PARAMETERS_BYTES),)


_Logger = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


_SILENT = _Logger(lambda level, text, user: None)


def library() -> Path | None:
    """llama.cpp's compiled code inside the package xllamacpp; None when it is not installed."""
    package = importlib.util.find_spec("xllamacpp")
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("xllamacpp*.so"), None)


def why_not(encoder: Encoder) -> str:
    """Why llama.cpp cannot be asked about this tokenizer; "" when it can."""
    if library() is None:
        return "not asked: install xllamacpp"
    if encoder.family == BYTE_LEVEL and name_of(encoder.definition.get("pre_tokenizer")) is None:
        return "not asked: llama.cpp's name for this pre-tokenizer is not known here"
    if encoder.family != BYTE_LEVEL and encoder.model is None:
        return "not asked: it needs the scores of a tokenizer.model"
    return ""


def write_vocabulary(encoder: Encoder, path: Path) -> None:
    """Write a GGUF file that holds this vocabulary and no weights."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    for key, value in SIZES.items():
        getattr(writer, f"add_{key}")(value)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    if encoder.family == BYTE_LEVEL:
        _add_ranked(writer, encoder)
    else:
        entries = encoder.model.pieces
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([entry.piece for entry in entries])
        writer.add_token_scores([entry.score for entry in entries])
        writer.add_token_types([entry.type for entry in entries])
        writer.add_add_space_prefix(encoder.model.normalizer_spec.add_dummy_prefix)
        for entry, name in ((encoder.model.trainer_spec.bos_id, "bos"), (2, "eos")):
            getattr(writer, f"add_{name}_token_id")(entry)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_ranked(writer: Any, encoder: Encoder) -> None:
    tokens, kinds = [f"[unused_{n}]" for n in range(encoder.size)], [UNUSED] * encoder.size
    for piece, index in encoder.vocabulary.items():
        tokens[index], kinds[index] = piece, NORMAL
    for index, text in encoder.added.items():
        tokens[index] = text
        kinds[index] = CONTROL if index in encoder.special_ids else USER_DEFINED
    merges = encoder.definition["model"]["merges"]
    name = name_of(encoder.definition.get("pre_tokenizer"))
    assert name is not None
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])


def llama_cpp_ids(encoder: Encoder, texts: Sequence[str]) -> list[list[int]]:
    """What llama.cpp makes of `texts`, special tokens read as plain text.

    Raises:
        RunFailed: it refuses the vocabulary.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write_vocabulary(encoder, path)
        with _vocabulary(path) as (code, vocabulary):
            return [_tokenize(code, vocabulary, text.encode()) for text in texts]


@contextlib.contextmanager
def _vocabulary(path: Path) -> Iterator[tuple[ctypes.CDLL, int]]:
    found = library()
    assert found is not None
    code = ctypes.CDLL(str(found))
    code.llama_log_set(_SILENT, None)
    code.llama_model_default_params.restype = _Parameters
    code.llama_model_load_from_file.restype = ctypes.c_void_p
    code.llama_model_load_from_file.argtypes = [ctypes.c_char_p, _Parameters]
    code.llama_model_get_vocab.restype = ctypes.c_void_p
    code.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
    code.llama_model_free.argtypes = [ctypes.c_void_p]
    code.llama_vocab_n_tokens.argtypes = [ctypes.c_void_p]
    code.llama_tokenize.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_int32,
        ctypes.POINTER(ctypes.c_int32),
        ctypes.c_int32,
        ctypes.c_bool,
        ctypes.c_bool,
    ]
    parameters = code.llama_model_default_params()
    parameters.room[VOCABULARY_ONLY] = 1
    model = code.llama_model_load_from_file(str(path).encode(), parameters)
    if not model:
        raise RunFailed(
            f"llama.cpp in {found} does not load the vocabulary that was written for it; "
            "is xllamacpp the version in constraints.txt?"
        )
    try:
        yield code, code.llama_model_get_vocab(model)
    finally:
        code.llama_model_free(model)


def _tokenize(code: ctypes.CDLL, vocabulary: int, text: bytes) -> list[int]:
    room = len(text) + 8
    buffer = (ctypes.c_int32 * room)()
    count = code.llama_tokenize(vocabulary, text, len(text), buffer, room, False, False)
    return list(buffer[:count])
