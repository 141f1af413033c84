"""Logprobs of the raw logits: before temperature, penalties and bias."""

from __future__ import annotations

import numpy as np

from crossette.engines.openvino.logits import LogitsRow
from crossette.engines.openvino.top_k import largest
from crossette.types import Logprob


def record(row: LogitsRow, token: int, num_top: int, sampling_logprob: float | None = None) -> Logprob:
    """The logprobs of `token` and of the `num_top` most likely tokens at a position with logits `row`."""
    best = row.max()
    # float64 from here, and the same subtraction for the token and its alternatives, so that equal logits stay equal.
    normaliser = float(best) + float(np.log(np.exp(row - best).sum(dtype=np.float64)))
    top = tuple((int(other), float(row[other]) - normaliser) for other in _top(row, num_top))
    return Logprob(token, float(row[token]) - normaliser, sampling_logprob, top)


def _top(row: LogitsRow, count: int) -> list[int]:
    """The ids of the largest logits, in descending order; ties by lowest id."""
    if count <= 1:
        return [int(row.argmax())] * count
    kept = largest(row, count)
    ids: list[int] = kept[np.argsort(-row[kept], kind="stable")].tolist()
    return ids
