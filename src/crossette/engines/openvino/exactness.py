"""Measure how many tokens a step may have on this CPU before batch composition changes a sequence's logits.

Measured at load, not assumed: OpenVINO chooses matrix kernels by the number of tokens in a step, and the thresholds
depend on the CPU. With AVX-512 no switch was found up to 512 tokens; with AVX2 only, results change in the last digits
from 81 tokens on, for SmolLM2-135M at f32 (docs/exactness.md).

A sequence at the end of the context window must not affect its neighbours either. That depends on the graph, not on the
machine: some graphs choose values for all sequences by the longest one of a step. Known cases get a window in which
this does not happen (lengths.py); a graph that still does it is refused here.

The narrow step is computed at every start, which also warms up the kernels. The comparison with wider steps is cached,
under a key that includes the narrow step's logits and all else that it depends on (calibration_cache.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

import msgspec
import numpy as np
import numpy.typing as npt

from crossette.engines.openvino.calibration_cache import CalibrationCache
from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool, blocks_for
from crossette.engines.openvino.runner import Runner, Subsequence
from crossette.errors import ModelError

NARROWEST = 64
"""The smallest useful step, in tokens; the probe begins here and doubles."""

_CHUNK = 16
_NEIGHBOURS = 7

_ROUNDING = 0.01
"""Largest difference that counts as rounding, in standard deviations of the logits. Other kernels change logits by less
than a tenth of this, other rotary factors by a hundred times as much, and an attention scale that is 7 % off in one of
four layers by 0.03."""


@dataclass(frozen=True, slots=True)
class ExactWidth:
    """The widest step, in tokens, whose results equal those of a narrow step, and warnings for the operator."""

    tokens: int
    warnings: tuple[str, ...] = ()
    always_needs_filler: bool = False
    """Whether a step of single-token subsequences needs the filler chunk, however many there are."""


def measure_width(
    runner: Runner, pool: BlockPool, *, limit: int, window: int, vocab_size: int, cache: CalibrationCache | None = None
) -> ExactWidth:
    """Compare a chunk and a single token, each computed alone, with the same in wider steps and next to long sequences.

    Borrows blocks of the pool, so call it before any request. A pool too small to try a width ends the search.
    `cache` skips a comparison that passed before. Raises ModelError if long neighbours change the logits,
    or if chunks do where outputs are computed in chunks.
    """
    probe = _Probe(runner, pool, vocab_size, window)
    try:
        width = _cached(cache, probe, limit) if cache else _compare(probe, limit)
    finally:
        probe.close()
    if width.always_needs_filler:
        runner.min_without_filler = math.inf
    return width


def _cached(cache: CalibrationCache, probe: _Probe, limit: int) -> ExactWidth:
    """The result of an earlier start, else of this one."""
    key = probe.cache_key(limit)
    if result := cache.read(key):
        with suppress(msgspec.DecodeError):  # damaged: compare again, and overwrite it
            return msgspec.json.decode(result, type=ExactWidth)
    width = _compare(probe, limit)
    if not width.warnings:
        cache.write(key, msgspec.json.encode(width))
    return width


def _compare(probe: _Probe, limit: int) -> ExactWidth:
    if not probe.same_in_a_chunk():
        raise ModelError(
            "A token's logits in a chunk differ from those of the token alone on this machine. Start with --kernels "
            "openvino, and report this, please."
        )
    shift = probe.shift_beside_long()
    if shift > _ROUNDING:
        raise ModelError(
            "A sequence's logits change with the length of other sequences in the batch, so its text would too. "
            "Choose another model."
        )
    always_needs_filler = not probe.same_among_single_tokens()
    if shift or not probe.same(NARROWEST):
        warning = (
            "On this CPU a sequence's logits change with the other sequences in the batch, even in narrow steps: "
            "the same request may give slightly different text under load."
        )
        return ExactWidth(NARROWEST, (warning,), always_needs_filler)
    width = NARROWEST
    while width * 2 <= limit and probe.fits(width * 2) and probe.same(width * 2):
        width *= 2
    return ExactWidth(width, always_needs_filler=always_needs_filler)


class _Probe:
    """A fixed chunk, a fixed single token that follows it, and enough other tokens to fill a step."""

    def __init__(self, runner: Runner, pool: BlockPool, vocab_size: int, window: int) -> None:
        self._runner = runner
        self._pool = pool
        self._window = window
        self._tokens = np.random.default_rng(0).integers(0, vocab_size, 4096).tolist()
        self._blocks = pool.allocate(min(pool.num_free, runner.num_blocks))
        adapter = runner.adapters[-1] if runner.adapters else None  # the neighbours have none
        self._own_rows = (0,) if runner.scratch_rows else ()
        self._chunk = Subsequence(self._tokens[:_CHUNK], 0, self._blocks[:1], 1, adapter=adapter, rows=self._own_rows)
        self._single = Subsequence(self._tokens[_CHUNK : _CHUNK + 1], _CHUNK, self._blocks[:1], 1, adapter=adapter)
        self._reference = self._measure_alone()

    def cache_key(self, limit: int) -> bytes:
        """All that a comparison up to `limit` depends on: the logits of the narrow step, and the sizes tried."""
        singles = self._runner.min_without_filler
        useful = self._num_own + blocks_for(limit) + (0 if singles == math.inf else int(singles))
        sizes = f"{limit} {singles} {min(useful, len(self._blocks))} {self._window} "
        return sizes.encode() + self._reference.tobytes()

    def close(self) -> None:
        self._pool.release(self._blocks)

    def fits(self, width: int) -> bool:
        return self._num_own + blocks_for(width) <= len(self._blocks)

    def shift_beside_long(self) -> float:
        """Largest change of a logit when a neighbour is at the end of the window, in standard deviations."""
        short, long = (self._beside(neighbour) for neighbour in (self._at_end_of(1), self._long))
        return float(np.abs(long - short).max() / short.std())

    def _beside(self, neighbour: Subsequence) -> npt.NDArray[np.float32]:
        """Logits of the chunk and of the token that follows it, in a step with a neighbour from `_at_end_of`.

        The step also fills the block that the neighbour attends to: uninitialised memory may hold NaN, from which the
        router of a mixture of experts computes addresses outside its tables.
        """
        filled = Subsequence(self._tokens[: BLOCK_SIZE - 1], 0, neighbour.blocks[:1], 0, rows=self._runner.scratch_rows)
        return self._forward([filled, neighbour, self._chunk, self._single])

    def _forward(self, parts: list[Subsequence]) -> npt.NDArray[np.float32]:
        """Logits of a step in which the chunk, if it is there, begins with an empty state."""
        if self._chunk in parts:
            self._runner.clear_rows(self._own_rows)
        return self._runner.forward(parts).copy()

    def _forward_single(self, others: Sequence[Subsequence] = ()) -> npt.NDArray[np.float32]:
        """Logits of the token that follows the chunk, which was computed in an earlier step.

        A state stands for all tokens so far, so the chunk's must be computed again.
        """
        if self._own_rows and others:
            self._forward([self._chunk])
        return self._forward([self._single._replace(rows=self._own_rows), *others])

    def _at_end_of(self, num_blocks: int) -> Subsequence:
        """A single token at the end of `num_blocks` blocks, which are one block repeated: no prompt is needed."""
        blocks = self._blocks[1:2] * num_blocks
        return Subsequence(self._tokens[:1], num_blocks * BLOCK_SIZE - 1, blocks, 0, rows=self._runner.scratch_rows)

    @property
    def _long(self) -> Subsequence:
        return self._at_end_of(max(1, self._window // BLOCK_SIZE))

    def same_among_single_tokens(self) -> bool:
        """Whether the token's logits are the same in a step of the fewest single tokens that runs without filler."""
        if self._runner.min_without_filler == math.inf:
            return False
        others = list(islice((self._long, *self._neighbours()), int(self._runner.min_without_filler) - 1))
        return bool(np.array_equal(self._reference[1], self._forward_single(others)[0]))

    def same_in_a_chunk(self) -> bool:
        """Whether the chunk and the token that follows it have the same logits as one chunk, where that matters."""
        if not self._runner.exact_chunks:
            return True
        whole = self._chunk._replace(tokens=self._tokens[: _CHUNK + 1], num_wanted=2)
        return bool(np.array_equal(self._reference, self._forward([whole])))

    def same(self, width: int) -> bool:
        if not self.fits(width):
            return True
        return bool(np.array_equal(self._reference, self._measure(width)))

    @property
    def _num_own(self) -> int:
        return 2 + _NEIGHBOURS

    def _measure_alone(self) -> npt.NDArray[np.float32]:
        """Logits of the chunk and of the token that follows it, computed in two steps."""
        return np.concatenate([self._forward([self._chunk]), self._forward_single()])

    def _measure(self, width: int) -> npt.NDArray[np.float32]:
        """Logits of the chunk and of the token that follows it, both in one step of `width` tokens."""
        return self._forward([self._chunk, self._single, *self._others(width - _CHUNK - 1)])

    def _neighbours(self) -> Iterator[Subsequence]:
        """Single tokens with a block each, as many as there are blocks."""
        for index, block in enumerate(self._blocks[2:]):
            yield Subsequence(self._tokens[index : index + 1], 0, [block], 0, rows=self._runner.scratch_rows)

    def _others(self, count: int) -> list[Subsequence]:
        """Single tokens and one chunk, `count` tokens in all; empty if `count` is too small."""
        if count <= _NEIGHBOURS + 2:
            return []
        singles = list(islice(self._neighbours(), _NEIGHBOURS))
        rest = self._tokens[64 : 64 + count - _NEIGHBOURS]
        return [*singles, Subsequence(rest, 0, self._blocks[self._num_own :], 0, rows=self._runner.scratch_rows)]
