"""Logprobs of the raw logits: before temperature, penalties and bias."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.kernels.scores import BEST, BEST_ID, LOG_SUM, TOKEN
from crossette.engines.openvino.logits import LogitsRow
from crossette.engines.openvino.top_k import largest
from crossette.types import Logprob

_ROWS_OF_A_THREAD = 8
"""Fewest rows that are worth a thread: it takes 0.1 ms to start, and a row 0.1 to 0.5."""


def record(row: LogitsRow, token: int, num_top: int, sampling_logprob: float | None = None) -> Logprob:
    """The logprobs of `token` and of the `num_top` most likely tokens at a position with logits `row`."""
    most_likely = int(row.argmax())
    best = row[most_likely]
    powers = row - best
    np.exp(powers, out=powers)
    # float64 from here, and the same subtraction for the token and its alternatives, so that equal logits stay equal.
    normaliser = float(best) + float(np.log(powers.sum(dtype=np.float64)))
    ids = [most_likely][:num_top] if num_top <= 1 else _most_likely(row, num_top)
    top = tuple((other, float(row[other]) - normaliser) for other in ids)
    return Logprob(token, float(row[token]) - normaliser, sampling_logprob, top)


def records(rows: npt.NDArray[np.float32], tokens: Sequence[int], num_top: int, *, threads: int) -> list[Logprob]:
    """`record` of each position, with logits `[positions, vocabulary]`.

    Many are shared by `threads`: NumPy computes without Python's GIL.
    """
    num_parts = max(1, min(threads, len(tokens) // _ROWS_OF_A_THREAD))

    def part(number: int) -> list[Logprob]:
        begin, end = (len(tokens) * edge // num_parts for edge in (number, number + 1))
        return [record(row, token, num_top) for row, token in zip(rows[begin:end], tokens[begin:end], strict=True)]

    if num_parts == 1:
        return part(0)
    with ThreadPoolExecutor(num_parts) as pool:
        return [one for some in pool.map(part, range(num_parts)) for one in some]


def records_of_scores(scores: npt.NDArray[np.float32], tokens: Sequence[int], num_top: int) -> list[Logprob]:
    """`record` of each position, for at most one alternative, from scores `[positions, 4]` of `kernels/scores.py`."""
    values = scores.astype(np.float64)
    best = -values[:, LOG_SUM]
    logprobs = (values[:, TOKEN] - values[:, BEST] + best).tolist()
    ids = scores[:, BEST_ID].astype(np.int64).tolist()
    return [
        Logprob(token, logprob, None, ((most_likely, highest),) if num_top else ())
        for token, logprob, most_likely, highest in zip(tokens, logprobs, ids, best.tolist(), strict=True)
    ]


def _most_likely(row: LogitsRow, count: int) -> list[int]:
    """The ids of the largest logits, in descending order; ties by lowest id."""
    kept = largest(row, count)
    ids: list[int] = kept[np.argsort(-row[kept], kind="stable")].tolist()
    return ids
