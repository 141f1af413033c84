"""Hold a converted model to its file: rows of every matrix, and what it says of a short text.

Conversion happens once, and what goes wrong in it is in every answer from then on. So it is measured before the model
is stored, and a model that is further off than the bounds is not stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.gguf import reference
from crossette.engines.openvino.gguf.compare import compare
from crossette.engines.openvino.gguf.head import GgufHead, GgufTensor
from crossette.engines.openvino.gguf.reference import Shape
from crossette.engines.openvino.gguf.rows import matrices
from crossette.engines.openvino.kv_cache import blocks_for
from crossette.engines.openvino.model import load_paged
from crossette.engines.openvino.runner import Row, Runner
from crossette.engines.openvino.tokenizer import OpenVINOTokenizer
from crossette.errors import ModelError
from crossette.machine import usable_cpus
from crossette.types import Difference

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

BOUNDS = Difference(kl=0.002, largest=0.25, weights=0.01)
"""What is further off than this is a fault of the conversion: rounding to 16 bits is a tenth of it or less."""

_CHUNK = 64
"""Tokens that are computed at once: no more than is exact on every CPU."""
_TEXT = "Paris is the capital of France, and 12 + 30 is 42.\n\ndef add(a, b):\n    return a + b\n"
_NUM_TOKENS = 32
_NUM_ROWS = 8


def verify(gguf: Path, head: GgufHead, folder: Path, *, add_bos: bool) -> Difference:
    """How far the model in `folder` is from the file that it was made of. Raises ModelError if beyond the bounds."""
    name, weights = _worst_weights(gguf, head, folder / "openvino_model.xml")
    if not weights <= BOUNDS.weights:
        raise _too_far(gguf, f"rows of '{name}' are {weights:.1%} off, where {BOUNDS.weights:.1%} is the bound")
    kl, largest = _text_difference(gguf, head, folder, add_bos)
    if not (kl <= BOUNDS.kl and largest <= BOUNDS.largest):  # not: also where one is no number
        raise _too_far(
            gguf,
            f"on a short text its logprobs are up to {largest:.2g} off ({BOUNDS.largest} is the bound), and the"
            f" divergence is {kl:.2g} nats a token ({BOUNDS.kl})",
        )
    return Difference(kl=round(kl, 6), largest=round(largest, 4), weights=round(weights, 5))


def _too_far(gguf: Path, figures: str) -> ModelError:
    return ModelError(
        f"Can't use what was made of {gguf}: it does not compute what the file says, for {figures}."
        " The fault is the conversion's: please report it, with the name of the file."
    )


class Served:
    """A converted model, computed as the engine computes prompts, but for `kv_cache_dtype`."""

    def __init__(self, folder: Path, *, max_tokens: int, kv_cache_dtype: str | None = None) -> None:
        threads = usable_cpus()
        self._blocks = range(blocks_for(max_tokens))
        model = load_paged(folder, threads=threads, window=max_tokens, kv_cache_dtype=kv_cache_dtype)
        self._runner = Runner(model, len(self._blocks), threads=threads)

    def logits(self, tokens: Sequence[int]) -> Floats:
        """Logits `[tokens, vocabulary]` of a text."""
        chunks = [tokens[start : start + _CHUNK] for start in range(0, len(tokens), _CHUNK)]
        rows = [Row(chunk, _CHUNK * place, self._blocks, len(chunk)) for place, chunk in enumerate(chunks)]
        return np.concatenate([self._runner.forward([row]).copy() for row in rows])


def _text_difference(gguf: Path, head: GgufHead, folder: Path, add_bos: bool) -> tuple[float, float]:
    """Mean divergence in nats, and the largest difference of a token's logprob.

    The cache of keys and values is kept in f32: what 8 bits lose there is no fault of the weights.
    """
    tokenizer = OpenVINOTokenizer(folder, add_bos=add_bos)
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    tokens = (begin + tokenizer.encode(_TEXT, specials=False))[:_NUM_TOKENS]
    found = Served(folder, max_tokens=len(tokens), kv_cache_dtype="f32").logits(tokens)
    comparison = compare(reference.logits(gguf, head, tokens), found, tokens)
    return float(comparison.kl.mean()), comparison.largest


def _worst_weights(gguf: Path, head: GgufHead, graph: Path) -> tuple[str, float]:
    """The matrix that is furthest off in the graph, and how far: a part of the length of its rows."""
    tensors, shape, found = reference.Tensors(gguf, head), reference.shape_of(gguf, head), matrices(graph)
    distances = {}
    for tensor in head.tensors:
        if len(tensor.shape) == 2:
            wanted, matrix = tensors.rows(tensor.name, _sample(tensor)), found.get(tensor.name)
            if matrix is None or (matrix.columns, matrix.rows) != tensor.shape:
                return tensor.name, math.inf
            distances[tensor.name] = min(_distance(matrix.read(at), wanted) for at in _places(tensor, shape))
    return max(distances.items(), key=lambda item: item[1])


def _sample(tensor: GgufTensor) -> Indices:
    """Some rows of a matrix, the same for all of its size."""
    num_rows = tensor.shape[1]
    return np.sort(np.random.default_rng(num_rows).choice(num_rows, min(_NUM_ROWS, num_rows), replace=False))


def _places(tensor: GgufTensor, shape: Shape) -> Iterator[Indices]:
    """Where the sampled rows may be in the graph: as in the file, or queries and keys by the halves of a head.

    A llama's file has the two features that are turned together side by side; a graph may have them half a head apart.
    """
    which = _sample(tensor)
    yield which
    if shape.adjacent and tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
        place = which % shape.head_size
        turned = place % 2 * (shape.rotated // 2) + place // 2
        yield which - place + np.where(place < shape.rotated, turned, place)


def _distance(rows: Floats, wanted: Floats) -> float:
    """The furthest of several rows, as a part of its length."""
    lengths = np.linalg.norm(wanted, axis=-1)
    lengths = np.maximum(lengths, max(lengths.mean() / 100, np.finfo(np.float32).tiny))  # rows of zeros have none
    return float((np.linalg.norm(rows - wanted, axis=-1) / lengths).max())
