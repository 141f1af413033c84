"""Run a step on the graph, such that each token's logits do not depend on the rest of the step.

OpenVINO chooses kernels by the shape of a step, and different kernels differ in the last digits. So two paddings are
added here, invisible to callers: a filler chunk where a step has only single-token subsequences, fewer than threads,
and a second token for the head where a step needs the logits of only one (docs/exactness.md). Products of our own skip
the filler, and their head needs no second token.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Sequence_
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import openvino as ov

from crossette.engines.openvino.adapters.graph import ADAPTERS
from crossette.engines.openvino.embeddings import IMAGE_ROWS, SOURCES
from crossette.engines.openvino.images import Rows, rows_within
from crossette.engines.openvino.kv_cache import blocks_for
from crossette.engines.openvino.model import FILLER, WANTED, PagedModel
from crossette.engines.openvino.recurrence import Recurrence, StateMemory, recurrence_inputs
from crossette.engines.openvino.sequence import Batch, Sequence, Span
from crossette.engines.openvino.sliding_layers import WINDOW_BLOCKS
from crossette.engines.openvino.states import ZERO

Logits = npt.NDArray[np.float32]
HiddenStates = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
"""`[positions, 4]`, as in `kernels/scores.py`."""

FILLER_TOKENS = 2
"""Tokens that the runner may add to a step; the scheduler's budget reserves them."""


class Subsequence(NamedTuple):
    """Consecutive tokens of one sequence in a step: they attend to each other and to `past` tokens in the cache."""

    tokens: Sequence_[int]
    past: int
    blocks: Sequence_[int]
    """Of layers with sliding window attention too, unless `window_blocks` has those."""
    num_wanted: int
    """How many of its last tokens need logits."""
    images: Sequence_[Rows] = ()
    """Embeddings that take the place of tokens."""
    adapter: str | None = None
    """The adapter of its sequence; None for the model itself."""
    rows: Sequence_[int] = ()
    """Rows of recurrent states, as in `Recurrence`. Empty: its recurrence goes on where that of the last part ends."""
    window_blocks: Sequence_[int] = ()
    """Blocks of layers with sliding window attention, from the block `window_start` on."""
    window_start: int = 0


class Runner:
    """A paged graph with its caches. Not thread-safe: one thread runs it."""

    def __init__(
        self,
        model: PagedModel,
        num_blocks: int,
        *,
        threads: int,
        num_rows: int = 0,
        num_window_blocks: int | None = None,
    ) -> None:
        num_window_blocks = num_blocks if num_window_blocks is None else num_window_blocks
        self.num_blocks = min(num_blocks, num_window_blocks) if model.sliding_window else num_blocks
        """Number of blocks that all layers have."""
        self.min_without_filler: float = 1 if model.own_layers else max(2, threads)
        """Number of single-token subsequences from which a step needs no filler: the plug-in's attention then has one
        per thread. It computes a single one by another kernel than the same token among others."""
        self.exact_chunks = model.own_layers
        """Whether a token's numbers are the same in a chunk and as a row of its own."""
        self._request = model.compiled.create_infer_request()
        self._scores = model.scores.create_infer_request() if model.scores is not None else None
        self._image_width = model.image_width
        self.adapters = model.adapters
        self._adapter_numbers = {name: number for number, name in enumerate((None, *model.adapters))}
        self._states = StateMemory(self._request, model.states, num_rows) if model.states else None
        self.scratch_rows = self._states.scratch if self._states else ()
        """Rows whose content is not needed."""
        self._filler = Subsequence(
            (0,) * FILLER_TOKENS, 0, (num_blocks,), 0, rows=self.scratch_rows, window_blocks=(num_window_blocks,)
        )
        self._has_filler_input = FILLER in {name for port in model.compiled.inputs for name in port.get_names()}
        self._min_wanted = 1 if model.own_head else 2
        """Fewest rows of the head: the plug-in has another kernel for a single one than for one of several."""
        self._slides = model.sliding_window > 0
        self._passed = num_window_blocks
        """The block that stands for those which the window has passed."""
        self._memory: dict[str, npt.NDArray[Any]] = {}
        """The memory of the inputs of the last step."""
        self._caches: list[ov.Tensor] = []
        self._window_caches: list[ov.Tensor] = []
        for cache in model.caches:
            # One block more than the pool has: scratch space of the filler.
            num = num_window_blocks if cache.slides else num_blocks
            tensor = ov.Tensor(cache.element_type, ov.Shape([num + 1, *cache.block_shape]))
            tensor.data[-1] = 0
            self._request.set_tensor(cache.name, tensor)
            (self._window_caches if cache.slides else self._caches).append(tensor)

    def close(self) -> None:
        """Free the graph and its caches now, in this thread, not when the garbage collector runs."""
        del self._request, self._scores
        self._memory.clear()
        self._caches.clear()
        self._window_caches.clear()
        if self._states is not None:
            self._states.close()

    def clear_rows(self, rows: Iterable[int]) -> None:
        """Let recurrences begin in these rows."""
        if self._states is not None:
            self._states.copy((ZERO, row) for row in rows)

    @property
    def hidden_states(self) -> HiddenStates:
        """The last hidden states of the last call, one for each row of its logits, which may be followed by more rows.

        Valid until the next call.
        """
        states: HiddenStates = self._request.get_output_tensor(1).data
        return states.reshape(-1, states.shape[-1])

    def scores_apart(self, num_top: int) -> bool:
        """Whether prompts can be scored without logits, with this many alternatives for each token."""
        return self._scores is not None and num_top <= 1

    def score(self, batch: Batch) -> dict[Sequence, Scores]:
        """The scores of the prompt tokens that the last call of `run` computed, of sequences that are scored apart."""
        spans: list[Span] = []
        rows: list[int] = []
        begin = 0
        for span in batch.spans:
            if span.sequence.scores_apart and span.num_scored:
                spans.append(span)
                rows += range(begin, begin + span.num_scored)
            begin += span.num_tokens
        if self._scores is None or not spans:
            return {}
        states = self._request.get_output_tensor(2).data
        tokens = np.fromiter(chain.from_iterable(span.scored for span in spans), np.int32, len(rows))
        self._scores.infer([states.reshape(-1, states.shape[-1])[rows], tokens])
        ends = list(accumulate(span.num_scored for span in spans))
        scores = np.split(self._scores.get_output_tensor(0).data, ends[:-1])
        return {span.sequence: own for span, own in zip(spans, scores, strict=True)}

    def run(self, batch: Batch) -> Logits:
        """Logits `[wanted tokens, vocabulary]`, each span's `num_wanted` in order. Valid until the next call."""
        _copy(self._caches, batch.copies)
        _copy(self._window_caches, batch.window_copies)
        if self._states is not None:
            self._states.copy(batch.row_copies)
        return self.forward([part for span in batch.spans for part in self._subsequences(span)])

    def _subsequences(self, span: Span) -> list[Subsequence]:
        """Prompts are computed in chunks. So are outputs where that gives the same numbers, else row by row."""
        return [_chunk(span)] if span.is_prompt or self.exact_chunks else _rows(span)

    def forward(self, parts: list[Subsequence]) -> Logits:
        """Logits `[wanted tokens, vocabulary]`, in order. Valid until the next call."""
        num_wanted = sum(part.num_wanted for part in parts)
        num_filler = 0
        if len(parts) < self.min_without_filler and all(len(part.tokens) == 1 for part in parts):
            parts, num_filler = [*parts, self._filler], FILLER_TOKENS
        inputs = _inputs(parts, self._min_wanted)
        if self._has_filler_input:
            inputs[FILLER] = np.array([num_filler], np.int32)
        if self._slides:
            inputs[WINDOW_BLOCKS] = _window_tables(parts, self._passed)
        if self._image_width is not None:
            inputs |= _embeddings(parts, self._image_width)
        if self.adapters:
            numbers = [self._adapter_numbers[part.adapter] for part in parts]
            inputs[ADAPTERS] = np.repeat(np.array(numbers, np.int64), [len(part.tokens) for part in parts])
        if self._states is not None:
            inputs |= recurrence_inputs(list(_recurrences(parts)))
        for name, value in inputs.items():
            self._set(name, value)
        self._request.infer()
        logits: Logits = self._request.get_output_tensor(0).data
        return logits.reshape(-1, logits.shape[-1])[:num_wanted]

    def _set(self, name: str, value: npt.NDArray[Any]) -> None:
        """Set an input. A tensor of the same shape as in the last step is written, which takes a tenth of the time."""
        data = self._memory.get(name)
        if data is not None and data.shape == value.shape:
            data[...] = value
            return
        tensor = ov.Tensor(value)
        self._memory[name] = tensor.data
        self._request.set_tensor(name, tensor)


def _copy(caches: list[ov.Tensor], copies: Iterable[tuple[int, int]]) -> None:
    for source, target in copies:
        for cache in caches:
            cache.data[target] = cache.data[source]


def _chunk(span: Span) -> Subsequence:
    """Its tokens as one subsequence."""
    sequence = span.sequence
    return Subsequence(
        (*sequence.tokens(span.start, span.count), *span.drafts),
        span.start,
        sequence.blocks,
        span.num_wanted,
        tuple(rows_within(sequence.request.images, span.start, span.count)) if span.is_prompt else (),
        sequence.request.adapter,
        sequence.rows,
        sequence.window_blocks,
        sequence.window_start,
    )


def _rows(span: Span) -> list[Subsequence]:
    """Each of its tokens as a subsequence, all with the same blocks."""
    whole = _chunk(span)
    first_wanted = span.start + span.num_tokens - span.num_wanted
    return [
        whole._replace(
            tokens=(token,),
            past=past,
            num_wanted=int(past >= first_wanted),
            rows=whole.rows if past == span.start else (),
        )
        for past, token in enumerate(whole.tokens, span.start)
    ]


def _recurrences(parts: list[Subsequence]) -> Iterator[Recurrence]:
    """The recurrences of a step: one for each part with rows, together with the parts without that follow it."""
    begins = [index for index, part in enumerate(parts) if part.rows]
    for begin, end in pairwise((*begins, len(parts))):
        yield Recurrence(sum(len(part.tokens) for part in parts[begin:end]), parts[begin].past, parts[begin].rows)


def _inputs(parts: list[Subsequence], min_wanted: int) -> dict[str, npt.NDArray[Any]]:
    """The graph's inputs for a step. The head gets at least `min_wanted` rows."""
    ends = list(accumulate(len(part.tokens) for part in parts))
    tables = [part.blocks[: blocks_for(part.past + len(part.tokens))] for part in parts]
    wanted = [index for part, end in zip(parts, ends, strict=True) for index in range(end - part.num_wanted, end)]
    wanted += [ends[-1] - 1] * (min_wanted - len(wanted))  # any token will do
    return {
        "input_ids": np.fromiter(chain.from_iterable(part.tokens for part in parts), np.int64, ends[-1]),
        "position_ids": np.fromiter(
            chain.from_iterable(range(part.past, part.past + len(part.tokens)) for part in parts), np.int64, ends[-1]
        ),
        "past_lens": np.array([part.past for part in parts], np.int32),
        "subsequence_begins": np.array([0, *ends], np.int32),
        "block_indices": np.fromiter(chain.from_iterable(tables), np.int32),
        "block_indices_begins": np.array([0, *accumulate(map(len, tables))], np.int32),
        "max_context_len": np.array(max(part.past + len(part.tokens) for part in parts), np.int32),
        WANTED: np.array(wanted, np.int64),
    }


def _window_tables(parts: list[Subsequence], passed: int) -> npt.NDArray[np.int32]:
    """The block tables of layers with sliding window attention; `passed` stands for blocks before the windows."""
    tables: list[int] = []
    for part in parts:
        num_blocks = blocks_for(part.past + len(part.tokens))
        table = [passed] * part.window_start + list(part.window_blocks or part.blocks)
        tables += table[:num_blocks]
    return np.array(tables, np.int32)


def _embeddings(parts: list[Subsequence], width: int) -> dict[str, npt.NDArray[Any]]:
    """The graph's inputs for images: all rows of the step, and for each token where its embedding comes from."""
    begins = [0, *accumulate(len(part.tokens) for part in parts)]
    sources = np.arange(begins[-1])
    rows: list[npt.NDArray[np.float32]] = []
    num_rows = 0
    for part, begin in zip(parts, begins, strict=False):
        for image in part.images:
            sources[begin + image.indices] = begins[-1] + num_rows + np.arange(len(image.rows))
            rows.append(image.rows)
            num_rows += len(image.rows)
    return {IMAGE_ROWS: np.concatenate(rows) if rows else np.zeros((1, width), np.float32), SOURCES: sources}
