"""How wide a step may be on this machine so that a row's logits do not depend on its neighbours, or on their length.

Measured at load, not assumed: OpenVINO picks its matrix kernels by the number of tokens in a step, and where the
switch lies depends on the CPU. With AVX-512 no switch was found up to 512 tokens; with AVX2 only, results change
in the last digits from 81 tokens on, for SmolLM2-135M at f32 (docs/exactness.md).

A neighbour at the end of the window must not matter either. Whether it does lies with the graph, not with the machine:
some choose by the longest sequence of a step what they compute for all. Those that are known get a window in which
they do not (lengths.py); one that does nevertheless is refused here.

The narrow step is computed at every start, which also makes the kernels ready. The comparison with wider ones is
kept, under a name that holds the narrow step's logits and all else that it depends on (notes.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import msgspec
import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.calibration_cache import CalibrationCache
from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool, blocks_for
from crossette.engines.openvino.runner import Row, Runner
from crossette.errors import ModelError

NARROWEST = 64
"""The narrowest step worth having; the probe begins here and doubles."""

_CHUNK = 16
_NEIGHBOURS = 7

_ROUNDING = 0.01
"""Of the logits' standard deviation. Other kernels move logits by less than a tenth of this, other rotary factors by a
hundred times as much, and a scale of attention that is 7 % off in one of four layers by 0.03."""


@dataclass(frozen=True, slots=True)
class ExactWidth:
    """The widest step, in tokens, in which results were the same as in a narrow one, and what went wrong."""

    tokens: int
    warnings: tuple[str, ...] = ()
    rows_need_filler: bool = False
    """Whether single rows need the filler chunk, however many they are."""


def measure_width(
    runner: Runner, pool: BlockPool, *, limit: int, window: int, vocab_size: int, notes: CalibrationCache | None = None
) -> ExactWidth:
    """Compare a chunk and a row alone with the same in steps of growing width, and beside one at the window's end.

    Borrows blocks of the pool, so it is run before any request. A pool too small to try a width ends the search.
    With `notes`, a comparison that went well is not made twice. Raises ModelError if long neighbours change a text.
    """
    probe = _Probe(runner, pool, vocab_size, window)
    try:
        width = _noted(notes, probe, limit) if notes else _compared(probe, limit)
    finally:
        probe.close()
    if width.rows_need_filler:
        runner.enough_rows = math.inf
    return width


def _noted(notes: CalibrationCache, probe: _Probe, limit: int) -> ExactWidth:
    """What was found out by an earlier start, else by this one."""
    facts = probe.facts(limit)
    if note := notes.read(facts):
        with suppress(msgspec.DecodeError):  # damaged: compare again, and write it anew
            return msgspec.json.decode(note, type=ExactWidth)
    width = _compared(probe, limit)
    if not width.warnings:
        notes.write(facts, msgspec.json.encode(width))
    return width


def _compared(probe: _Probe, limit: int) -> ExactWidth:
    shift = probe.shift_beside_long()
    if shift > _ROUNDING:
        raise ModelError(
            "A sequence's logits change with the length of its neighbours in the batch, so that they would change its "
            "text. Choose another model."
        )
    rows_need_filler = not probe.same_among_rows()
    if shift or not probe.same(NARROWEST):
        warning = (
            "On this CPU a sequence's logits change with its neighbours in the batch, even in narrow steps: "
            "the same request may give slightly different text under load."
        )
        return ExactWidth(NARROWEST, (warning,), rows_need_filler)
    width = NARROWEST
    while width * 2 <= limit and probe.fits(width * 2) and probe.same(width * 2):
        width *= 2
    return ExactWidth(width, rows_need_filler=rows_need_filler)


class _Probe:
    """A fixed chunk and a fixed row, and enough other tokens to fill a step."""

    def __init__(self, runner: Runner, pool: BlockPool, vocab_size: int, window: int) -> None:
        self._runner = runner
        self._pool = pool
        self._window = window
        self._tokens = np.random.default_rng(0).integers(0, vocab_size, 4096).tolist()
        self._blocks = pool.allocate(pool.num_free)
        self._chunk = Row(self._tokens[:_CHUNK], 0, self._blocks[:1], 1)
        self._row = Row(self._tokens[_CHUNK : _CHUNK + 1], _CHUNK, self._blocks[:1], 1)
        self._reference = self._measure_alone()

    def facts(self, limit: int) -> bytes:
        """What a comparison up to `limit` depends on: the narrow step itself, and how far it can go."""
        rows = self._runner.enough_rows
        useful = self._num_own + blocks_for(limit) + (0 if rows == math.inf else int(rows))
        told = f"{limit} {rows} {min(useful, len(self._blocks))} {self._window} "
        return told.encode() + self._reference.tobytes()

    def close(self) -> None:
        self._pool.release(self._blocks)

    def fits(self, width: int) -> bool:
        return self._num_own + blocks_for(width) <= len(self._blocks)

    def shift_beside_long(self) -> float:
        """How far logits move where a neighbour is at the end of the window: the most, in standard deviations."""
        short, long = (self._beside(row) for row in (self._row_of(1), self._long))
        return float(np.abs(long - short).max() / short.std())

    def _beside(self, row: Row) -> npt.NDArray[np.float32]:
        """Logits of the chunk and of the row that follows it, beside a row of `_row_of`.

        The step fills the block where that row looks. Nobody has written there, and what is in such memory may be no
        numbers, of which the router of a mixture of experts makes addresses outside its tables.
        """
        filled = Row(self._tokens[: BLOCK_SIZE - 1], 0, row.blocks[:1], 0)
        return self._runner.forward([filled, row, self._chunk, self._row]).copy()

    def _row_of(self, num_blocks: int) -> Row:
        """A row at the end of so many blocks. All are the same one, so that it needs no prompt and no room."""
        return Row(self._tokens[:1], num_blocks * BLOCK_SIZE - 1, self._blocks[1:2] * num_blocks, 0)

    @property
    def _long(self) -> Row:
        return self._row_of(max(1, self._window // BLOCK_SIZE))

    def same_among_rows(self) -> bool:
        """Whether the row is the same in a step of single rows, as many as make the filler unnecessary."""
        if self._runner.enough_rows == math.inf:
            return False
        others = islice((self._long, *self._neighbours()), int(self._runner.enough_rows) - 1)
        return bool(np.array_equal(self._reference[1], self._runner.forward([self._row, *others])[0]))

    def same(self, width: int) -> bool:
        if not self.fits(width):
            return True
        return bool(np.array_equal(self._reference, self._measure(width)))

    @property
    def _num_own(self) -> int:
        return 2 + _NEIGHBOURS

    def _measure_alone(self) -> npt.NDArray[np.float32]:
        """Logits of the chunk alone, and then of the row that follows it alone."""
        chunk = self._runner.forward([self._chunk]).copy()
        return np.concatenate([chunk, self._runner.forward([self._row])])

    def _measure(self, width: int) -> npt.NDArray[np.float32]:
        """Logits of the chunk and of the row that follows it, both in one step of `width` tokens."""
        return self._runner.forward([self._chunk, self._row, *self._others(width - _CHUNK - 1)]).copy()

    def _neighbours(self) -> Iterator[Row]:
        """Single rows with a block each, as far as there are blocks."""
        for place, block in enumerate(self._blocks[2:]):
            yield Row(self._tokens[place : place + 1], 0, [block], 0)

    def _others(self, count: int) -> list[Row]:
        """Rows and one chunk, `count` tokens in all; none where there is no room for them."""
        if count <= _NEIGHBOURS + 2:
            return []
        rows = list(islice(self._neighbours(), _NEIGHBOURS))
        rest = self._tokens[64 : 64 + count - _NEIGHBOURS]
        return [*rows, Row(rest, 0, self._blocks[self._num_own :], 0)]
