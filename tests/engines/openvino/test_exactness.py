"""A token's logits are bit-identical alone and in any batch, and for any chunking of its prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossette.engines.openvino import calibration_cache
from crossette.engines.openvino.cache_sizes import MIN_BLOCKS
from crossette.engines.openvino.calibration_cache import CalibrationCache
from crossette.engines.openvino.exactness import NARROWEST, ExactWidth, measure_width
from crossette.engines.openvino.kernels.load import load_kernels
from crossette.engines.openvino.kv_cache import BLOCK_SIZE, BlockPool
from crossette.engines.openvino.model import PagedModel, load_paged
from crossette.engines.openvino.runner import FILLER_TOKENS, Logits, Runner, Subsequence
from crossette.errors import ModelError
from support.engine_calls import TINY_CONTEXT

NUM_BLOCKS = 64
PER_SEQUENCE = 4
"""Blocks that each sequence of these tests has: sequence 3 has blocks 12 to 15."""
VOCAB_SIZE = 260
WINDOW = TINY_CONTEXT
PROMPT = 50


@pytest.fixture(scope="module", params=["openvino", "crossette"])
def model(request: pytest.FixtureRequest, tiny_model_dir: Path) -> PagedModel:
    """A model whose products have OpenVINO's kernels, or crossette's own where they can be compiled."""
    kernels = load_kernels() if request.param == "crossette" else None
    return load_paged(tiny_model_dir, threads=2, window=WINDOW, kernels=kernels)


@pytest.fixture(scope="module")
def runner(model: PagedModel) -> Runner:
    return Runner(model, NUM_BLOCKS, threads=2)


@pytest.fixture(scope="module")
def width(runner: Runner) -> int:
    """The measured width of exact steps on this machine."""
    measured = measure_width(runner, BlockPool(NUM_BLOCKS), limit=256, window=WINDOW, vocab_size=VOCAB_SIZE)
    assert measured.warnings == ()
    return measured.tokens


def tokens(sequence: int, count: int = 100) -> list[int]:
    found: list[int] = np.random.default_rng(sequence).integers(3, VOCAB_SIZE, count).tolist()
    return found


def blocks(sequence: int) -> list[int]:
    return list(range(sequence * PER_SEQUENCE, (sequence + 1) * PER_SEQUENCE))


def chunk(sequence: int, start: int, end: int, wanted: int = 1) -> Subsequence:
    return Subsequence(tokens(sequence)[start:end], start, blocks(sequence), wanted)


def prompt(sequence: int) -> Subsequence:
    return chunk(sequence, 0, PROMPT)


def singles(sequence: int, start: int, end: int) -> list[Subsequence]:
    """Output tokens, each a subsequence of its own; the logits of the last are wanted."""
    return [chunk(sequence, i, i + 1, wanted=int(i == end - 1)) for i in range(start, end)]


def logits(runner: Runner, *step: Subsequence) -> Logits:
    return runner.forward(list(step)).copy()


def same(one: Logits, other: Logits) -> bool:
    return one.dtype == other.dtype == np.float32 and np.array_equal(one, other)


@pytest.mark.parametrize("num_neighbours", [1, 2, 7, 13])
def test_a_decode_token_is_the_same_alone_and_among_others(runner: Runner, num_neighbours: int) -> None:
    for sequence in range(1 + num_neighbours):
        logits(runner, prompt(sequence))

    alone = [logits(runner, *singles(sequence, PROMPT, PROMPT + 1))[0] for sequence in range(1 + num_neighbours)]
    together = logits(runner, *(singles(sequence, PROMPT, PROMPT + 1)[0] for sequence in range(1 + num_neighbours)))

    assert same(np.stack(alone), together)


@pytest.mark.parametrize("size", [2, 3, 17, 32, 47])
def test_a_decode_token_is_the_same_beside_a_prompt_chunk(runner: Runner, width: int, size: int) -> None:
    assert 1 + size <= width - FILLER_TOKENS
    single = singles(0, PROMPT, PROMPT + 1)[0]
    logits(runner, prompt(0))

    alone = logits(runner, single)[0]

    assert same(logits(runner, single, chunk(1, 0, size))[0], alone)
    assert same(logits(runner, chunk(1, 0, size), single)[1], alone)


def test_a_prompt_is_the_same_alone_and_beside_decode_tokens_and_chunks(runner: Runner, width: int) -> None:
    logits(runner, prompt(1))
    alone = logits(runner, prompt(0))[0]

    beside = [singles(1, PROMPT, PROMPT + 1)[0], chunk(2, 0, min(width - FILLER_TOKENS - PROMPT - 1, 60))]

    assert same(logits(runner, *beside[:1], prompt(0))[1], alone)
    if len(beside[1].tokens) > 1:
        assert same(logits(runner, prompt(0), *beside)[0], alone)


def test_a_prompt_is_the_same_for_any_split_into_two_chunks(runner: Runner) -> None:
    expected = logits(runner, prompt(0))[0]

    for cut in range(2, PROMPT - 1):
        logits(runner, chunk(1, 0, 30), chunk(0, 0, cut))
        assert same(logits(runner, chunk(0, cut, PROMPT))[0], expected), cut


def test_a_prompt_in_small_chunks_is_the_same(runner: Runner) -> None:
    expected = logits(runner, prompt(0))[0]

    for start in range(0, PROMPT - 2, 2):
        logits(runner, chunk(0, start, start + 2))

    assert same(logits(runner, chunk(0, PROMPT - 2, PROMPT))[0], expected)


def test_output_tokens_recomputed_in_one_step_are_the_same(runner: Runner, width: int) -> None:
    """After a preemption: the prompt in chunks, the output as single tokens, many in a step, in other blocks."""
    end = PROMPT + min(40, width - FILLER_TOKENS)
    logits(runner, prompt(0))
    first = [logits(runner, *singles(0, i, i + 1))[0] for i in range(PROMPT, end + 1)]

    moved = [part._replace(blocks=[40, 9, 33, 17]) for part in (prompt(0), *singles(0, PROMPT, end))]
    logits(runner, moved[0])
    again = logits(runner, *moved[1:])[0]
    following = logits(runner, singles(0, end, end + 1)[0]._replace(blocks=[40, 9, 33, 17]))[0]

    assert same(again, first[-2])
    assert same(following, first[-1])


def test_earlier_content_of_a_block_does_not_matter(runner: Runner) -> None:
    logits(runner, prompt(0))
    fresh = logits(runner, *singles(0, PROMPT, PROMPT + 1))[0]

    logits(runner, chunk(5, 0, 60)._replace(blocks=blocks(0)))
    logits(runner, prompt(0))

    assert same(logits(runner, *singles(0, PROMPT, PROMPT + 1))[0], fresh)


def test_a_token_attends_to_its_past(runner: Runner) -> None:
    """Otherwise all of the above would hold for a graph without attention."""
    logits(runner, prompt(0), chunk(1, 0, 32))
    other = Subsequence(tokens(0)[PROMPT : PROMPT + 1], PROMPT, [blocks(1)[0], blocks(0)[1]], 1)

    one, another = logits(runner, singles(0, PROMPT, PROMPT + 1)[0], other)

    assert not np.allclose(one, another)


def test_the_measured_width_is_within_limit_and_pool_and_all_blocks_are_released(runner: Runner) -> None:
    pool = BlockPool(NUM_BLOCKS)

    measured = measure_width(runner, pool, limit=100, window=WINDOW, vocab_size=VOCAB_SIZE)

    assert measured == ExactWidth(NARROWEST)
    assert pool.num_free == NUM_BLOCKS


def test_a_machine_of_one_cpu_is_exact_too(tiny_model_dir: Path) -> None:
    """With one thread, too, a single token alone is computed by another kernel than among others."""
    runner = Runner(load_paged(tiny_model_dir, threads=1, window=WINDOW), NUM_BLOCKS, threads=1)
    try:
        parts = [Subsequence((token,), 0, (token,), 1) for token in (1, 2, 3)]
        alone = runner.forward(parts[:1]).copy()

        assert np.array_equal(runner.forward(parts)[:1], alone)
        assert (
            measure_width(runner, BlockPool(NUM_BLOCKS), limit=256, window=WINDOW, vocab_size=VOCAB_SIZE).warnings == ()
        )
    finally:
        runner.close()


def test_a_machine_on_which_neighbours_matter_gets_a_warning(monkeypatch: pytest.MonkeyPatch, runner: Runner) -> None:
    forward = runner.forward

    def disturbed(step: list[Subsequence]) -> Logits:
        return forward(step) + np.float32(len(step))

    monkeypatch.setattr(runner, "forward", disturbed)
    monkeypatch.setattr(runner, "min_without_filler", 2)  # restored afterwards: the runner is shared
    measured = measure_width(runner, BlockPool(NUM_BLOCKS), limit=256, window=WINDOW, vocab_size=VOCAB_SIZE)

    assert measured.tokens == NARROWEST
    assert len(measured.warnings) == 1 and "slightly different text under load" in measured.warnings[0]


def test_a_machine_that_is_exact_in_narrow_steps_gets_narrow_steps(
    monkeypatch: pytest.MonkeyPatch, runner: Runner
) -> None:
    forward = runner.forward

    def disturbed(step: list[Subsequence]) -> Logits:
        return forward(step) + np.float32(sum(len(part.tokens) for part in step) > 128)

    monkeypatch.setattr(runner, "forward", disturbed)
    monkeypatch.setattr(runner, "min_without_filler", 2)  # restored afterwards: the runner is shared

    assert measure_width(runner, BlockPool(NUM_BLOCKS), limit=512, window=WINDOW, vocab_size=VOCAB_SIZE) == ExactWidth(
        128
    )


def test_chunks_that_change_logits_are_refused_where_outputs_are_computed_in_chunks(
    monkeypatch: pytest.MonkeyPatch, runner: Runner
) -> None:
    forward, pool = runner.forward, BlockPool(NUM_BLOCKS)

    def disturbed(step: list[Subsequence]) -> Logits:
        return forward(step) + np.float32(step[0].num_wanted > 1)

    monkeypatch.setattr(runner, "forward", disturbed)
    monkeypatch.setattr(runner, "min_without_filler", 2)  # restored afterwards: the runner is shared
    monkeypatch.setattr(runner, "exact_chunks", True)
    with pytest.raises(ModelError, match="--kernels openvino"):
        measure_width(runner, pool, limit=64, window=WINDOW, vocab_size=VOCAB_SIZE)
    assert pool.num_free == NUM_BLOCKS
    monkeypatch.setattr(runner, "exact_chunks", False)
    assert measure_width(runner, pool, limit=64, window=WINDOW, vocab_size=VOCAB_SIZE) == ExactWidth(NARROWEST)


def test_a_filler_is_always_added_where_single_tokens_differ_among_themselves(
    monkeypatch: pytest.MonkeyPatch, model: PagedModel
) -> None:
    runner = Runner(model, NUM_BLOCKS, threads=2)
    forward = runner.forward

    def disturbed(step: list[Subsequence]) -> Logits:
        return forward(step) + np.float32(len(step) > 1 and all(len(part.tokens) == 1 for part in step))

    monkeypatch.setattr(runner, "forward", disturbed)
    monkeypatch.setattr(runner, "min_without_filler", 2)  # restored afterwards: the runner is shared

    assert measure_width(runner, BlockPool(NUM_BLOCKS), limit=64, window=WINDOW, vocab_size=VOCAB_SIZE) == ExactWidth(
        NARROWEST, always_needs_filler=True
    )
    assert runner.min_without_filler == float("inf")


def beside_long(runner: Runner, monkeypatch: pytest.MonkeyPatch, shift: float) -> list[int]:
    """Shift logits by `shift` standard deviations beside long sequences; returns the longest past of each step."""
    forward, pasts = runner.forward, []

    def disturbed(step: list[Subsequence]) -> Logits:
        found = forward(step)
        pasts.append(max(part.past for part in step))
        return found + np.float32(shift * found.std()) * (pasts[-1] > WINDOW - BLOCK_SIZE)

    monkeypatch.setattr(runner, "forward", disturbed)
    monkeypatch.setattr(runner, "min_without_filler", 2)  # restored afterwards: the runner is shared
    return pasts


def test_logits_that_change_with_a_neighbours_length_are_refused(
    monkeypatch: pytest.MonkeyPatch, runner: Runner
) -> None:
    pasts, pool = beside_long(runner, monkeypatch, shift=1), BlockPool(NUM_BLOCKS)

    with pytest.raises(ModelError, match="change with the length of other sequences"):
        measure_width(runner, pool, limit=256, window=WINDOW, vocab_size=VOCAB_SIZE)
    assert pool.num_free == NUM_BLOCKS
    assert max(pasts) == WINDOW - 1


def test_last_digits_that_change_with_a_neighbours_length_cause_a_warning(
    monkeypatch: pytest.MonkeyPatch, runner: Runner
) -> None:
    beside_long(runner, monkeypatch, shift=1e-3)

    measured = measure_width(runner, BlockPool(NUM_BLOCKS), limit=256, window=WINDOW, vocab_size=VOCAB_SIZE)

    assert len(measured.warnings) == 1 and "slightly different text under load" in measured.warnings[0]


@pytest.mark.parametrize("window", [1, 31, 32, 63, 64, 1000, 100_000])
def test_windows_of_any_length_can_be_measured_with_the_smallest_pool(runner: Runner, window: int) -> None:
    pool = BlockPool(MIN_BLOCKS)

    assert measure_width(runner, pool, limit=256, window=window, vocab_size=VOCAB_SIZE).warnings == ()


def test_uninitialised_memory_is_not_read(model: PagedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may contain NaN, which spreads; in a mixture of experts that is a crash."""
    runner = Runner(model, NUM_BLOCKS, threads=2)
    seen = []
    forward = runner.forward

    def watched(step: list[Subsequence]) -> Logits:
        found = forward(step).copy()
        seen.append(bool(np.isfinite(forward([part._replace(num_wanted=1) for part in step])).all()))
        return found

    for cache in runner._caches:
        cache.data[:] = 0xFF  # four such bytes as a scale are NaN
    monkeypatch.setattr(runner, "forward", watched)
    try:
        measure_width(runner, BlockPool(NUM_BLOCKS), limit=256, window=WINDOW, vocab_size=VOCAB_SIZE)
    finally:
        runner.close()

    assert seen and all(seen)


class Counted:
    """A graph that changes steps of more than `exact` tokens and steps of several single tokens, and counts steps."""

    def __init__(self, model: PagedModel, monkeypatch: pytest.MonkeyPatch, *, exact: int = 128) -> None:
        self.runner = Runner(model, NUM_BLOCKS, threads=2)
        self.num_steps = 0
        self.shift = 0.0
        self._exact = exact
        self._forward = self.runner.forward
        monkeypatch.setattr(self.runner, "forward", self._disturbed)

    def _disturbed(self, step: list[Subsequence]) -> Logits:
        self.num_steps += 1
        wide = sum(len(part.tokens) for part in step) > self._exact
        several_singles = len(step) > 1 and all(len(part.tokens) == 1 for part in step)
        return self._forward(step) + np.float32(self.shift + wide + several_singles)

    def measure(self, cache: CalibrationCache, *, limit: int = 512, window: int = WINDOW) -> ExactWidth:
        """Measure with the pool and the runner of a fresh start."""
        self.runner.min_without_filler, self.num_steps = 2, 0
        pool = BlockPool(NUM_BLOCKS)
        return measure_width(self.runner, pool, limit=limit, window=window, vocab_size=VOCAB_SIZE, cache=cache)


@pytest.fixture
def cache(tmp_path: Path, model: PagedModel, monkeypatch: pytest.MonkeyPatch) -> CalibrationCache:
    monkeypatch.setattr(calibration_cache, "cpu_identity", lambda: "a CPU")
    return CalibrationCache(tmp_path, model.fingerprint)


def test_the_next_start_uses_the_cached_result_and_computes_the_narrow_step_only(
    model: PagedModel, cache: CalibrationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Counted(model, monkeypatch)
    first, num_first = graph.measure(cache), graph.num_steps
    second = graph.measure(cache)

    assert first == second == ExactWidth(128, always_needs_filler=True)
    # Besides the narrow step: a short and a long neighbour, several single tokens, and widths 64, 128 and 256. Where
    # outputs are computed in chunks, a chunk with the token that follows it.
    assert (num_first, graph.num_steps) == (8 + graph.runner.exact_chunks, 2)
    assert graph.runner.min_without_filler == float("inf")


def test_another_result_of_the_narrow_step_is_measured_again(
    model: PagedModel, cache: CalibrationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other weights, or another kernel, change it."""
    graph = Counted(model, monkeypatch)
    graph.measure(cache)
    graph.shift = 1e-3

    graph.measure(cache)

    assert graph.num_steps > 2


def test_another_limit_is_measured_again(
    model: PagedModel, cache: CalibrationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Counted(model, monkeypatch)
    graph.measure(cache, limit=512)

    assert graph.measure(cache, limit=64).tokens == NARROWEST
    assert graph.num_steps > 2


def test_another_window_is_measured_again(
    model: PagedModel, cache: CalibrationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Counted(model, monkeypatch)
    graph.measure(cache)

    graph.measure(cache, window=WINDOW // 2)

    assert graph.num_steps > 2


def test_a_damaged_cache_entry_is_measured_again_and_overwritten(
    model: PagedModel, cache: CalibrationCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graph = Counted(model, monkeypatch)
    expected = graph.measure(cache)
    for file in tmp_path.iterdir():
        file.write_bytes(b'{"tokens": "many"}')

    assert graph.measure(cache) == expected and graph.num_steps > 2
    assert graph.measure(cache) == expected and graph.num_steps == 2


def test_a_result_with_warnings_is_measured_at_every_start(
    model: PagedModel, cache: CalibrationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = Counted(model, monkeypatch, exact=32)
    first = graph.measure(cache)

    assert graph.measure(cache) == first
    assert first.warnings and graph.num_steps > 2


def test_blocks_have_the_size_that_the_pool_assumes(model: PagedModel) -> None:
    assert {cache.block_shape[1] for cache in model.caches} == {BLOCK_SIZE}
