"""Verify a converted model against its GGUF file: rows of every matrix, and logprobs on a short text.

Conversion happens once, and an error in it affects every answer afterwards. So the difference is measured before the
model is stored, and a model beyond the bounds is not stored.
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
from crossette.engines.openvino.kernels.load import load_kernels
from crossette.engines.openvino.kv_cache import blocks_for
from crossette.engines.openvino.model import load_paged
from crossette.engines.openvino.runner import Runner, Subsequence
from crossette.engines.openvino.tokenizer import load_tokenizer
from crossette.errors import ModelError
from crossette.machine import usable_cpus
from crossette.types import Difference

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

BOUNDS = Difference(kl=0.002, largest=0.25, weights=0.0001)
"""Larger differences are conversion errors: what 32 bits round is far below."""

EXPERT_BOUNDS = Difference(kl=0.02, largest=1.0, weights=0.0001)
"""The same for mixtures of experts: rounding can exchange two experts of a token between which it hardly decides."""

_CHUNK = 64
"""Tokens computed per step: an exact width on every CPU."""
_TEXT = "Paris is the capital of France, and 12 + 30 is 42.\n\ndef add(a, b):\n    return a + b\n"
_NUM_TOKENS = 32
_NUM_ROWS = 8


def verify(gguf: Path, head: GgufHead, folder: Path, *, add_bos: bool) -> Difference:
    """Measure the difference between the model in `folder` and its source file. Raises ModelError beyond the bounds."""
    name, weights = _worst_weights(gguf, head, folder / "openvino_model.xml")
    if not weights <= BOUNDS.weights:
        raise _failed(gguf, f"rows of '{name}' are {weights:.2%} off, where {BOUNDS.weights:.2%} is the bound")
    kl, largest = _text_difference(gguf, head, folder, add_bos)
    bounds = EXPERT_BOUNDS if reference.shape_of(gguf, head).experts else BOUNDS
    if not (kl <= bounds.kl and largest <= bounds.largest):  # negated, so that NaN fails too
        raise _failed(
            gguf,
            f"on a short text its logprobs are up to {largest:.2g} off ({bounds.largest} is the bound), and the"
            f" divergence is {kl:.2g} nats per token ({bounds.kl})",
        )
    return Difference(kl=round(kl, 6), largest=round(largest, 4), weights=round(weights, 5))


def _failed(gguf: Path, figures: str) -> ModelError:
    return ModelError(
        f"Can't use the model converted from {gguf}: it does not match the file: {figures}."
        " This is a bug of the conversion: please report it, with the name of the file."
    )


class ConvertedModel:
    """A converted model, run as the engine computes prompts, except for `kv_cache_dtype`."""

    def __init__(self, folder: Path, *, max_tokens: int, kv_cache_dtype: str = "auto") -> None:
        threads = usable_cpus()
        self._blocks = range(blocks_for(max_tokens))
        model = load_paged(
            folder, threads=threads, window=max_tokens, kv_cache_dtype=kv_cache_dtype, kernels=load_kernels()
        )
        self._runner = Runner(model, len(self._blocks), threads=threads)

    def logits(self, tokens: Sequence[int]) -> Floats:
        """Logits `[tokens, vocabulary]` of a text."""
        chunks = [tokens[start : start + _CHUNK] for start in range(0, len(tokens), _CHUNK)]
        parts = [Subsequence(chunk, _CHUNK * i, self._blocks, len(chunk)) for i, chunk in enumerate(chunks)]
        return np.concatenate([self._runner.forward([part]).copy() for part in parts])


def _text_difference(gguf: Path, head: GgufHead, folder: Path, add_bos: bool) -> tuple[float, float]:
    """Mean KL divergence in nats, and the largest difference of a token's logprob.

    The KV cache is f32: rounding it to 8 bits is not an error of the weights.
    """
    tokenizer = load_tokenizer(folder, add_bos=add_bos)
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    tokens = (begin + tokenizer.encode(_TEXT, specials=False))[:_NUM_TOKENS]
    found = ConvertedModel(folder, max_tokens=len(tokens), kv_cache_dtype="f32").logits(tokens)
    comparison = compare(reference.logits(gguf, head, tokens), found, tokens)
    return float(comparison.kl.mean()), comparison.largest


def _worst_weights(gguf: Path, head: GgufHead, graph: Path) -> tuple[str, float]:
    """The matrix with the largest difference in the graph, and that difference, relative to the norm of its rows."""
    tensors, shape, found = reference.Tensors(gguf, head), reference.shape_of(gguf, head), matrices(graph)
    distances = {}
    stacks = {part: name for name in found for part in name.split(",")}
    for tensor in head.tensors:
        if len(tensor.shape) > 1 and tensor.name.endswith(".weight") and tensor.shape[1:] != (1,):
            wanted, matrix = tensors.rows(tensor.name, _sample(tensor)), found.get(stacks.get(tensor.name, ""))
            if matrix is None or matrix.columns != tensor.shape[0]:
                return tensor.name, math.inf
            orders = _row_orders(tensor, shape, stacks[tensor.name], matrix.rows)
            distances[tensor.name] = min((_distance(matrix.read(at), wanted) for at in orders), default=math.inf)
    return max(distances.items(), key=lambda item: item[1])


def _sample(tensor: GgufTensor) -> Indices:
    """Indices of random rows; the same for all matrices of one height."""
    num_rows = math.prod(tensor.shape[1:])
    return np.sort(np.random.default_rng(num_rows).choice(num_rows, min(_NUM_ROWS, num_rows), replace=False))


def _row_orders(tensor: GgufTensor, shape: Shape, stack: str, height: int) -> Iterator[Indices]:
    """The possible indices of the sampled rows in a graph's matrix of `height` rows. They are as in the file, except

    - in a stack of several tensors of experts, whose rows take turns, and
    - in queries and keys whose rotary pairs are adjacent in the file: they may be half a head apart.
    """
    rows = _sample(tensor)
    if "," in stack:
        names = stack.split(",")
        rows = rows * len(names) + names.index(tensor.name)
    if rows.max() >= height:
        return
    yield rows
    if shape.adjacent and tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
        feature = rows % shape.head_size
        permuted = feature % 2 * (shape.rotated // 2) + feature // 2
        yield rows - feature + np.where(feature < shape.rotated, permuted, feature)


def _distance(rows: Floats, wanted: Floats) -> float:
    """The largest relative distance of the rows."""
    norms = np.linalg.norm(wanted, axis=-1)
    norms = np.maximum(norms, max(norms.mean() / 100, np.finfo(np.float32).tiny))  # rows of zeros have norm 0
    return float((np.linalg.norm(rows - wanted, axis=-1) / norms).max())
