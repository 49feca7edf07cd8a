"""llama.cpp through its C interface in the xllamacpp wheel, and as a referee: our vocabulary in its
own file format, read by its own code.

The interface passes its settings as structures by value.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from langraft.core.errors import BadInput, RunFailed
from langraft.tokenizer.encoder import BYTE_LEVEL, Encoder
from langraft.tokenizer.formats import name_of
from langraft.tokenizer.gguf_vocabulary import vocabulary_of

VOCABULARY_ONLY = 72  # where its flag stands in the settings of a model
SIZES = {"block_count": 1, "context_length": 64, "embedding_length": 64, "feed_forward_length": 64}


class Settings(ctypes.Structure):
    """A structure of the library, larger than any version's: by value the tail does no harm."""

    _fields_ = (("content", ctypes.c_ubyte * 512),)


Signatures = Mapping[str, tuple[object, tuple[object, ...]]]
SIGNATURES: Signatures = {
    "llama_backend_init": (None, ()),
    "llama_model_default_params": (Settings, ()),
    "llama_model_load_from_file": (ctypes.c_void_p, (ctypes.c_char_p, Settings)),
    "llama_model_free": (None, (ctypes.c_void_p,)),
    "llama_model_get_vocab": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "llama_tokenize": (
        ctypes.c_int32,
        (
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_int32,
            ctypes.POINTER(ctypes.c_int32),
            ctypes.c_int32,
            ctypes.c_bool,
            ctypes.c_bool,
        ),
    ),
    "llama_log_set": (None, (ctypes.c_void_p, ctypes.c_void_p)),
}
_LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


def _ignore(level: int, text: bytes, user: object) -> None:
    """Swallow the library's remarks: it reports every tensor it loads."""


_silent = _LOG(_ignore)


def shared_library() -> Path | None:
    """llama.cpp's compiled code inside the package xllamacpp; None when it is not installed."""
    package = importlib.util.find_spec("xllamacpp")
    if package is None or package.origin is None:
        return None
    return next(Path(package.origin).parent.glob("xllamacpp*.so"), None)


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library.

    Raises:
        BadInput: xllamacpp is not installed.
    """
    found = shared_library()
    if found is None:
        raise BadInput("GGUF needs llama.cpp: pip install 'langraft[serve]' (package xllamacpp)")
    code = ctypes.CDLL(str(found))
    declare(code, SIGNATURES)
    code.llama_backend_init()
    return code


def declare(code: ctypes.CDLL, signatures: Signatures) -> None:
    """Tell ctypes what functions take and give."""
    for name, (result, arguments) in signatures.items():
        function = getattr(code, name)
        function.restype, function.argtypes = result, arguments


@contextlib.contextmanager
def quiet(code: ctypes.CDLL) -> Iterator[None]:
    """Without the library's remarks on stderr."""
    code.llama_log_set(ctypes.cast(_silent, ctypes.c_void_p), None)
    try:
        yield
    finally:
        code.llama_log_set(None, None)


def load_file(path: Path, *, vocabulary_only: bool = False) -> int | None:
    """A handle of the model in `path`, for `llama_model_free`; None where llama.cpp refuses it."""
    code = library()
    settings = code.llama_model_default_params()
    if vocabulary_only:
        settings.content[VOCABULARY_ONLY] = 1
    with quiet(code):
        found: int | None = code.llama_model_load_from_file(str(path).encode(), settings)
    return found


def ids_of(vocabulary: int, text: str, *, special: bool = False) -> list[int]:
    """The ids of `text`; with `special`, framed and with special tokens read as such.

    Args:
        vocabulary: what `llama_model_get_vocab` gave.
    """
    data = text.encode()
    room = len(data) + 8
    buffer = (ctypes.c_int32 * room)()
    count = library().llama_tokenize(vocabulary, data, len(data), buffer, room, special, special)
    assert count >= 0
    return list(buffer[:count])


def why_not(encoder: Encoder) -> str:
    """Why llama.cpp cannot be asked about this tokenizer; "" when it can."""
    if shared_library() is None:
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
    vocabulary_of(encoder, encoder.size).write(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp_ids(encoder: Encoder, texts: Sequence[str]) -> list[list[int]]:
    """What llama.cpp makes of `texts`, special tokens read as plain text.

    Raises:
        RunFailed: it refuses the vocabulary.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write_vocabulary(encoder, path)
        model = load_file(path, vocabulary_only=True)
    if model is None:
        raise RunFailed(
            f"llama.cpp in {shared_library()} does not load the vocabulary that was written for "
            "it; is xllamacpp the version in constraints.txt?"
        )
    try:
        vocabulary = library().llama_model_get_vocab(model)
        return [ids_of(vocabulary, text) for text in texts]
    finally:
        library().llama_model_free(model)
