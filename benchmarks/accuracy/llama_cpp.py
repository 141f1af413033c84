"""Compute the logits of every token with llama.cpp, for the accuracy benchmark. Runs in an environment with xllamacpp.

    python llama_cpp.py MODEL.gguf WINDOWS.json FOLDER

WINDOWS.json is a list of texts as token ids; logits `[tokens, vocabulary]` of the first go to FOLDER/0.npy, and so on.

xllamacpp's own interface returns no logits of prompts, but its library exports llama.cpp's C functions. Parameter
structs are passed on as the library returns them, in larger buffers, so their layout is not needed.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt


class _Parameters(ctypes.Structure):
    _fields_ = (("opaque", ctypes.c_uint64 * 128),)


class _Batch(ctypes.Structure):
    """`llama_batch` of llama.h."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


_Log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)

_FUNCTIONS = {
    "llama_model_default_params": (_Parameters, ()),
    "llama_context_default_params": (_Parameters, ()),
    "llama_model_load_from_file": (ctypes.c_void_p, (ctypes.c_char_p, _Parameters)),
    "llama_init_from_model": (ctypes.c_void_p, (ctypes.c_void_p, _Parameters)),
    "llama_set_n_threads": (None, (ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32)),
    "llama_n_ctx": (ctypes.c_uint32, (ctypes.c_void_p,)),
    "llama_model_get_vocab": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "llama_vocab_n_tokens": (ctypes.c_int32, (ctypes.c_void_p,)),
    "llama_batch_init": (_Batch, (ctypes.c_int32, ctypes.c_int32, ctypes.c_int32)),
    "llama_get_memory": (ctypes.c_void_p, (ctypes.c_void_p,)),
    "llama_memory_clear": (None, (ctypes.c_void_p, ctypes.c_bool)),
    "llama_decode": (ctypes.c_int32, (ctypes.c_void_p, _Batch)),
    "llama_get_logits": (ctypes.POINTER(ctypes.c_float), (ctypes.c_void_p,)),
    "llama_log_set": (None, (_Log, ctypes.c_void_p)),
    "llama_backend_init": (None, ()),
    "ggml_backend_load_all": (None, ()),
}


class LlamaCpp:
    """A model, run by llama.cpp with its default parameters."""

    def __init__(self, model: Path) -> None:
        import xllamacpp.xllamacpp as binding  # type: ignore[import-not-found]  # in another environment

        self._lib = ctypes.CDLL(binding.__file__)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self._lib, name)
            function.restype, function.argtypes = result, arguments
        self._quiet = _Log(lambda *_: None)  # a reference is needed as long as the library may call it
        self._lib.llama_log_set(self._quiet, None)
        self._lib.ggml_backend_load_all()
        self._lib.llama_backend_init()
        loaded = self._lib.llama_model_load_from_file(os.fsencode(model), self._lib.llama_model_default_params())
        if not loaded:
            raise SystemExit(f"llama.cpp cannot load {model}")
        self._context = self._lib.llama_init_from_model(loaded, self._lib.llama_context_default_params())
        if not self._context:
            raise SystemExit(f"llama.cpp cannot serve {model}")
        threads = len(os.sched_getaffinity(0))
        self._lib.llama_set_n_threads(self._context, threads, threads)
        self._vocabulary = self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(loaded))
        self._most = self._lib.llama_n_ctx(self._context)
        self._batch = self._lib.llama_batch_init(self._most, 0, 1)

    def logits(self, tokens: list[int]) -> npt.NDArray[np.float32]:
        """Logits `[tokens, vocabulary]` of a text."""
        if len(tokens) > self._most:
            raise SystemExit(f"A window of {len(tokens)} tokens is longer than the context of {self._most}.")
        self._batch.n_tokens = len(tokens)
        for position, token in enumerate(tokens):
            self._batch.token[position], self._batch.pos[position] = token, position
            self._batch.n_seq_id[position], self._batch.seq_id[position][0], self._batch.logits[position] = 1, 0, 1
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._context), True)
        if status := self._lib.llama_decode(self._context, self._batch):
            raise SystemExit(f"llama_decode returned {status}")
        found = self._lib.llama_get_logits(self._context)
        return np.ctypeslib.as_array(found, (len(tokens), self._vocabulary)).copy()


def main(model: str, windows: str, folder: str) -> None:
    llama_cpp = LlamaCpp(Path(model))
    for number, tokens in enumerate(json.loads(Path(windows).read_text())):
        np.save(Path(folder) / f"{number}.npy", llama_cpp.logits(tokens))


if __name__ == "__main__":
    main(*sys.argv[1:])
