"""Logits to tokens. Each row is treated alone, so a token never depends on who else is in the batch.

The order of the steps is fixed, so that a seed gives the same text in every release:
temperature, top_k, top_p, min_p, then a draw by inverse CDF in float64 over ascending token ids.
"""

from __future__ import annotations

from collections.abc import Sequence as Sequence_

import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.sequence import Sequence
from crossette.types import SamplingParams

Row = npt.NDArray[np.float32]
Ids = npt.NDArray[np.intp]

_SEED_MASK = 2**64 - 1


def sample(sequences: Sequence_[Sequence], logits: npt.NDArray[np.float32]) -> list[int]:
    """The next token of each sequence, from `logits` `[sequences, vocabulary]`. Ties go to the lowest id."""
    tokens: list[int] = logits.argmax(axis=1).tolist() if len(sequences) else []
    for i, sequence in enumerate(sequences):
        params = sequence.request.sampling
        if params.temperature > 0:
            number = uniform(sequence.seed, len(sequence.output))
            tokens[i] = draw(logits[i], params, number)
    return tokens


def uniform(seed: int, position: int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments: Philox, a counter-based generator."""
    bits = np.random.Philox(key=seed & _SEED_MASK, counter=position)
    return float(np.random.Generator(bits).random())


def draw(logits: Row, params: SamplingParams, number: float) -> int:
    """The token that `number` in [0, 1) selects from the filtered distribution. `temperature` must not be 0."""
    temperature = max(np.float32(params.temperature), np.finfo(np.float32).tiny)  # 1e-50 would become 0, and 0/0
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to minus infinity: as it should
        scaled = (logits - logits.max()) / temperature
    weights = np.exp(scaled)  # the likeliest token weighs 1
    ids: Ids | None = None  # None: the whole vocabulary
    if 0 < params.top_k < len(weights):
        ids = _largest(weights, params.top_k)
    if params.top_p < 1:
        ids = _nucleus(weights, ids, params.top_p)
    if params.min_p > 0:
        ids = np.flatnonzero(weights >= params.min_p) if ids is None else ids[weights[ids] >= params.min_p]
    chosen = _inverse_cdf(weights if ids is None else weights[ids], number)
    return chosen if ids is None else int(ids[chosen])


def _inverse_cdf(weights: Row, number: float) -> int:
    cumulative = np.cumsum(weights, dtype=np.float64)
    place = int(np.searchsorted(cumulative, number * cumulative[-1], side="right"))
    return min(place, len(weights) - 1)


def _largest(weights: Row, count: int) -> Ids:
    """The ids of the `count` largest weights, ascending; among equals the lowest ids."""
    threshold = np.partition(weights, len(weights) - count)[len(weights) - count]
    above = np.flatnonzero(weights > threshold)
    equal = np.flatnonzero(weights == threshold)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))


def _nucleus(weights: Row, ids: Ids | None, top_p: float) -> Ids:
    """The fewest ids whose weights reach `top_p` of the whole, ascending; at least one, ties to the lowest id.

    Sorting a vocabulary takes milliseconds, and the nucleus is nearly always small: try the largest few first.
    """
    pool = weights if ids is None else weights[ids]
    wanted = top_p * float(pool.sum(dtype=np.float64))
    count = 128
    while True:
        candidates = _largest(pool, count) if count < len(pool) else np.arange(len(pool))
        order = candidates[np.argsort(-pool[candidates], kind="stable")]
        cumulative = np.cumsum(pool[order], dtype=np.float64)
        if cumulative[-1] >= wanted or len(candidates) == len(pool):
            kept = np.sort(order[: int(np.searchsorted(cumulative, wanted)) + 1])
            return kept if ids is None else ids[kept]
        count *= 8
