"""Run a step on the graph. The only file that feeds it, and the one that keeps each row's result its own.

OpenVINO picks kernels by the shape of a step, and different kernels differ in the last digits. Two things are
therefore added to a step here, and never seen outside: a filler chunk where a step holds only single rows, fewer
than there are threads, and a second row for the head where a step wants only one (docs/exactness.md).
"""

from __future__ import annotations

from collections.abc import Sequence as Sequence_
from itertools import accumulate, chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov

from crossette.engines.openvino.kv_cache import blocks_for
from crossette.engines.openvino.model import WANTED, PagedModel
from crossette.engines.openvino.sequence import Batch, Span

Logits = npt.NDArray[np.float32]

FILLER_TOKENS = 2
"""Tokens that the runner may add to a step: the scheduler's budget leaves room for them."""


class Row(NamedTuple):
    """Tokens that attend to each other and to `past` tokens in the cache."""

    tokens: Sequence_[int]
    past: int
    blocks: Sequence_[int]
    num_wanted: int
    """How many of its last tokens' logits are asked for."""


class Runner:
    """A paged graph with its caches. Not thread-safe: one thread runs it."""

    def __init__(self, model: PagedModel, num_blocks: int, *, threads: int) -> None:
        self.enough_rows: float = max(2, threads)
        """Single rows from which a step needs no filler: attention then has a row for each thread. One alone needs it
        always: a single row is computed by another kernel than the same row among others."""
        self._request = model.compiled.create_infer_request()
        self._filler = Row((0,) * FILLER_TOKENS, 0, (num_blocks,), 0)
        self._caches = []
        for cache in model.caches:
            # One block more than the pool hands out: the filler's scratch.
            tensor = ov.Tensor(cache.element_type, ov.Shape([num_blocks + 1, *cache.block_shape]))
            self._request.set_tensor(cache.name, tensor)
            self._caches.append(tensor)

    def close(self) -> None:
        """Free the graph and its caches now, in this thread, and not wherever the garbage collector comes by."""
        del self._request
        self._caches.clear()

    def run(self, batch: Batch) -> Logits:
        """Logits `[rows, vocabulary]`, each span's `num_wanted` in order. Valid until the next call."""
        for source, target in batch.copies:
            for cache in self._caches:
                cache.data[target] = cache.data[source]
        return self.forward([row for span in batch.spans for row in _rows(span)])

    def forward(self, rows: list[Row]) -> Logits:
        """Logits `[wanted rows, vocabulary]`, in order. Valid until the next call."""
        num_wanted = sum(row.num_wanted for row in rows)
        if len(rows) < self.enough_rows and all(len(row.tokens) == 1 for row in rows):
            rows = [*rows, self._filler]
        for name, value in _inputs(rows).items():
            self._request.set_tensor(name, ov.Tensor(value))
        self._request.infer()
        logits: Logits = self._request.get_output_tensor(0).data
        return logits.reshape(-1, logits.shape[-1])[:num_wanted]


def _rows(span: Span) -> list[Row]:
    """A prompt chunk is one row; output tokens are a row each, all over the same blocks."""
    sequence = span.sequence
    tokens = sequence.tokens(span.start, span.count)
    if span.is_prompt:
        return [Row(tokens, span.start, sequence.blocks, span.num_wanted)]
    first_wanted = span.start + span.num_rows - span.num_wanted
    return [
        Row((token,), past, sequence.blocks, int(past >= first_wanted))
        for past, token in enumerate((*tokens, *span.drafts), span.start)
    ]


def _inputs(rows: list[Row]) -> dict[str, npt.NDArray[np.int32] | npt.NDArray[np.int64]]:
    """The graph's inputs for a step, sequence after sequence."""
    ends = list(accumulate(len(row.tokens) for row in rows))
    tables = [row.blocks[: blocks_for(row.past + len(row.tokens))] for row in rows]
    wanted = [place for row, end in zip(rows, ends, strict=True) for place in range(end - row.num_wanted, end)]
    if len(wanted) < 2:  # the head's kernel for a single row differs; any second row will do
        wanted += [ends[-1] - 1] * (2 - len(wanted))
    return {
        "input_ids": np.fromiter(chain.from_iterable(row.tokens for row in rows), np.int64, ends[-1]),
        "position_ids": np.fromiter(
            chain.from_iterable(range(row.past, row.past + len(row.tokens)) for row in rows), np.int64, ends[-1]
        ),
        "past_lens": np.array([row.past for row in rows], np.int32),
        "subsequence_begins": np.array([0, *ends], np.int32),
        "block_indices": np.fromiter(chain.from_iterable(tables), np.int32),
        "block_indices_begins": np.array([0, *accumulate(map(len, tables))], np.int32),
        "max_context_len": np.array(max(row.past + len(row.tokens) for row in rows), np.int32),
        WANTED: np.array(wanted, np.int64),
    }
