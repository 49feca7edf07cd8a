"""Ids and logits of a GGUF file, as llama.cpp itself computes them.

Its interface passes the settings of a context as a structure by value. Only a few numbers of it are
set here, and where they lie is checked against the defaults that the library reports before it is
used.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from langraft.core.errors import BadInput, RunFailed
from langraft.tokenizer.llama_cpp import (
    Settings,
    Signatures,
    declare,
    ids_of,
    library,
    load_file,
    quiet,
)

F32, F16 = 0, 1
CONTEXT_AT, BATCH_AT, MICRO_AT, THREADS_AT, BATCH_THREADS_AT, KEYS_AT, VALUES_AT = (
    *(0, 4, 8, 28, 32),
    *(104, 108),
)
DEFAULTS = {
    CONTEXT_AT: 512,
    BATCH_AT: 2048,
    MICRO_AT: 512,
    THREADS_AT: 4,
    BATCH_THREADS_AT: 4,
    KEYS_AT: F16,
    VALUES_AT: F16,
}


class _Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


SIGNATURES: Signatures = {
    "llama_context_default_params": (Settings, ()),
    "llama_vocab_n_tokens": (ctypes.c_int32, (ctypes.c_void_p,)),
    "llama_init_from_model": (ctypes.c_void_p, (ctypes.c_void_p, Settings)),
    "llama_free": (None, (ctypes.c_void_p,)),
    "llama_get_memory": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "llama_memory_clear": (None, (ctypes.c_void_p, ctypes.c_bool)),
    "llama_batch_init": (_Batch, (ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)),
    "llama_batch_free": (None, (_Batch,)),
    "llama_decode": (ctypes.c_int32, (ctypes.c_void_p, _Batch)),
    "llama_get_logits": (ctypes.POINTER(ctypes.c_float), (ctypes.c_void_p,)),
}


@functools.cache
def _interface() -> ctypes.CDLL:
    code = library()
    declare(code, SIGNATURES)
    return code


class LlamaCpp:
    """One GGUF file, loaded whole on the CPU with a float32 cache; a context manager."""

    def __init__(self, path: Path, context: int = 512) -> None:
        """Load `path` for texts of up to `context` tokens.

        Raises:
            BadInput: not a GGUF model, or a build of llama.cpp whose structures are others.
        """
        if not path.is_file():
            raise BadInput(f"{path}: no such file")
        self._lib = lib = _interface()
        self.path, self.context = path, context
        self._model = load_file(path)
        if self._model is None:
            raise BadInput(f"{path}: llama.cpp cannot load this file")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.rows = int(lib.llama_vocab_n_tokens(self._vocab))
        with quiet(lib):
            self._context = lib.llama_init_from_model(self._model, self._settings(context))
        if not self._context:
            raise RunFailed(f"{path}: llama.cpp found no memory for {context} tokens")

    def _settings(self, context: int) -> Settings:
        settings = self._lib.llama_context_default_params()
        content = bytearray(bytes(settings.content))
        if any(struct.unpack_from("<i", content, at)[0] != v for at, v in DEFAULTS.items()):
            raise BadInput(
                "this build of xllamacpp lays its settings out in another way than the versions "
                "that langraft knows; install the version that constraints.txt names"
            )
        for at, value in (
            (CONTEXT_AT, context),
            (BATCH_AT, context),
            (MICRO_AT, context),
            (THREADS_AT, os.cpu_count() or 1),
            (BATCH_THREADS_AT, os.cpu_count() or 1),
            (KEYS_AT, F32),
            (VALUES_AT, F32),
        ):
            struct.pack_into("<i", content, at, value)
        return Settings.from_buffer_copy(content)

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with quiet(self._lib):
            self._lib.llama_free(self._context)
            self._lib.llama_model_free(self._model)

    def ids(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of `text`; with `special`, framed and with special tokens read as such."""
        return ids_of(self._vocab, text, special=special)

    def logits(self, ids: Sequence[int], after: int = 0) -> np.ndarray:
        """Logits after every id, float32 of shape (ids, rows).

        Args:
            after: ids of the call before that these continue; 0 begins anew.

        Raises:
            RunFailed: llama.cpp could not compute them.
        """
        count = len(ids)
        assert 0 < count <= self.context - after
        lib = self._lib
        if not after:
            lib.llama_memory_clear(lib.llama_get_memory(self._context), True)
        batch = lib.llama_batch_init(count, 0, 1)
        try:
            batch.n_tokens = count
            for index, token in enumerate(ids):
                batch.token[index], batch.pos[index] = token, after + index
                batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
                batch.logits[index] = 1
            if status := lib.llama_decode(self._context, batch):
                raise RunFailed(f"{self.path}: llama.cpp failed to compute (status {status})")
            found = np.ctypeslib.as_array(
                lib.llama_get_logits(self._context), shape=(count, self.rows)
            )
            return found.copy()
        finally:
            lib.llama_batch_free(batch)

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The `count` most likely ids after `ids`, one by one."""
        found = [int(self.logits(ids)[-1].argmax())]
        while len(found) < count:
            after = len(ids) + len(found) - 1
            found.append(int(self.logits(found[-1:], after)[-1].argmax()))
        return found
