"""Logarithms of probabilities, of the untouched logits: before temperature, penalties and bias."""

from __future__ import annotations

import numpy as np

from crossette.engines.openvino.logits import Row
from crossette.engines.openvino.top_k import largest
from crossette.types import Logprob


def record(row: Row, token: int, num_top: int, sampling_logprob: float | None = None) -> Logprob:
    """What there is to say of `token` at a position with logits `row`, and of the `num_top` likeliest there."""
    best = row.max()
    # float64 from here: the same subtraction for the token and for the alternatives, so that equals are equal.
    normaliser = float(best) + float(np.log(np.exp(row - best).sum(dtype=np.float64)))
    top = tuple((int(other), float(row[other]) - normaliser) for other in _top(row, num_top))
    return Logprob(token, float(row[token]) - normaliser, sampling_logprob, top)


def _top(row: Row, count: int) -> list[int]:
    """The ids of the largest logits, best first; among equals the lowest first."""
    if count <= 1:
        return [int(row.argmax())] * count
    kept = largest(row, count)
    ids: list[int] = kept[np.argsort(-row[kept], kind="stable")].tolist()
    return ids
