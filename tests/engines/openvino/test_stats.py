"""What the engine counts and measures of itself, and what it says when nothing moves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossette.engine import EngineStats, EngineTimes
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.kv_cache import BLOCK_SIZE
from crossette.engines.openvino.pace import StepPace
from crossette.engines.openvino.sequence import Batch
from crossette.engines.openvino.settings import OpenVINOSettings
from support.api_server import serving
from support.engine_calls import LIMIT_S, ask, is_empty, make_request, run, settle
from support.tiny_model import tiny_files

LONG = "A prompt of more than two blocks, so that there is something to find in the prefix cache again."


@pytest.fixture
def engine(tiny_model_dir: Path) -> Iterator[OpenVINOEngine]:
    engine = OpenVINOEngine.load(tiny_files(tiny_model_dir), OpenVINOSettings(kv_cache="32MiB", max_step_tokens=64))
    yield engine
    engine.close()


def times_of(stats: EngineStats) -> EngineTimes:
    assert stats.times is not None
    return stats.times


def test_steps_gaps_and_waits_are_measured(engine: OpenVINOEngine) -> None:
    run(ask(engine, make_request(LONG, max_tokens=5)))
    stats = engine.stats()

    times = times_of(stats)
    assert (stats.completion_tokens, times.queue.count, times.cancellation.count) == (5, 1, 0)
    assert times.token_gap.count < 5  # guesses that were right come together with the token before them
    assert times.step.count == times.step_tokens.count == times.step_sequences.count == stats.steps
    assert times.step_sequences.sum == stats.steps  # one in each
    assert times.step_tokens.sum >= len(LONG) + 4
    assert stats.kv_bytes == engine.kv_bytes > 0


def test_answers_that_their_readers_end_count_with_the_length_that_they_had(engine: OpenVINOEngine) -> None:
    """A stop string, or a client that hangs up, frees a place as any end does."""

    async def hang_up() -> None:
        generation = engine.generate(make_request(LONG, max_tokens=900))
        await anext(generation)
        await generation.aclose()

    run(hang_up())
    run(settle(engine))  # one token more

    assert 1 <= engine.stats().speeds.mean_output_tokens < 450


def test_choices_of_one_request_wait_once(engine: OpenVINOEngine) -> None:
    run(ask(engine, make_request(LONG, n=3, max_tokens=2)))

    assert times_of(engine.stats()).queue.count == 1


def test_the_prefix_cache_counts_what_was_looked_for_and_found(engine: OpenVINOEngine) -> None:
    run(ask(engine, make_request(LONG)))
    cold = engine.stats()
    run(ask(engine, make_request(LONG)))
    warm = engine.stats()

    num_found = (len(LONG) - 2) // BLOCK_SIZE * BLOCK_SIZE
    assert (cold.lookup_tokens, cold.hit_tokens) == (len(LONG), 0)
    assert (warm.lookup_tokens, warm.hit_tokens) == (2 * len(LONG), num_found)


def test_a_prompt_that_is_scored_is_not_looked_for(engine: OpenVINOEngine) -> None:
    run(ask(engine, make_request(LONG, logprobs=0, prompt_logprobs=True)))

    assert engine.stats().lookup_tokens == 0


def test_a_cancellation_is_measured_once_and_an_end_is_none(engine: OpenVINOEngine) -> None:
    async def begin_and_leave() -> None:
        generation = engine.generate(make_request(LONG, max_tokens=800))
        await anext(generation)
        await generation.aclose()
        await generation.aclose()
        await settle(engine)

    run(begin_and_leave())
    stats = engine.stats()

    assert times_of(stats).cancellation.count == 1
    assert is_empty(engine)


def test_a_request_that_leaves_before_it_is_admitted_has_not_waited(engine: OpenVINOEngine) -> None:
    async def leave_at_once() -> None:
        generation = engine.generate(make_request(LONG))
        await generation.aclose()
        await settle(engine)

    before = times_of(engine.stats()).queue.count
    run(leave_at_once())

    # The one that settles has; the other may have been admitted in a step before it could leave.
    assert before + 1 <= times_of(engine.stats()).queue.count <= before + 2


@pytest.mark.parametrize("place", ["inbox", "prompt"])
def test_every_choice_of_a_request_waits(place: str, engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the inbox while a step runs, and while its prompt is computed: else any number of them could wait."""
    held, released = threading.Event(), threading.Event()

    def hold(batch: Batch, run: Any = engine._runner.run) -> Any:
        held.set()
        assert released.wait(LIMIT_S)
        return run(batch)

    async def look() -> int:
        asking = [asyncio.create_task(ask(engine, make_request(LONG, n=4, max_tokens=2)))]
        await asyncio.to_thread(held.wait, LIMIT_S)
        if place == "inbox":
            asking.append(asyncio.create_task(ask(engine, make_request(LONG, n=4, max_tokens=2))))
            await asyncio.sleep(0)
        waiting = engine.stats().waiting
        released.set()
        await asyncio.gather(*asking)
        return waiting

    monkeypatch.setattr(engine._runner, "run", hold)

    assert run(look()) == {"prompt": 3, "inbox": 7}[place]


# --- progress ---


def test_steps_in_which_nothing_moves_turn_readiness_off(
    engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that gives out nothing although somebody waits would spin, and each of its steps is quick."""
    schedule = engine.scheduler.schedule
    spun, released = threading.Event(), threading.Event()
    num_steps = iter(range(10**9))

    def nothing(budget: int | None = None) -> Batch:
        if next(num_steps) > 3:
            spun.set()
        return schedule(budget) if released.is_set() else Batch(())

    monkeypatch.setattr(StepPace, "patience_s", 0.0)
    monkeypatch.setattr(engine.scheduler, "schedule", nothing)
    monkeypatch.setattr(engine._runner, "run", lambda batch, run=engine._runner.run: run(batch) if batch.spans else [])
    monkeypatch.setattr("crossette.engines.openvino.engine.draw", _draw)
    with serving(engine) as server:
        asking = threading.Thread(target=lambda: server.post("/v1/completions", {"model": "tiny", "prompt": "a"}))
        asking.start()
        assert spun.wait(LIMIT_S)

        spinning = server.get("/health/ready")
        released.set()
        asking.join(LIMIT_S)
        again = server.get("/health/ready")

    assert (spinning.status_code, spinning.json()["status"]) == (503, "stalled")
    assert (again.status_code, again.json()["status"]) == (200, "ok")


def _draw(batch: Batch, logits: object) -> object:
    from crossette.engines.openvino.step import draw

    return draw(batch, logits) if batch.spans else []  # type: ignore[arg-type]  # what the runner gave


def test_an_engine_whose_thread_has_ended_is_not_alive(engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing should end the thread but `close`; if something does, only a new process helps."""

    with serving(engine) as server:
        assert server.get("/health/live").status_code == 200
        monkeypatch.setattr(engine, "_drain_inbox", lambda: False)
        with server.begin("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 1}) as connection:
            connection.recv(1)  # the request that was in the inbox is answered, and is the last one
            engine._thread.join(LIMIT_S)
        live, ready = server.get("/health/live"), server.get("/health/ready")
        page = server.get("/metrics").text

    assert (live.status_code, live.json()) == (503, {"status": "failed"})
    assert (ready.status_code, ready.json()["status"]) == (503, "stalled")
    assert 'crossette_engine_stalled{model="tiny"} 1.0' in page


def test_a_closed_engine_has_not_failed(engine: OpenVINOEngine) -> None:
    engine.close()

    stats = engine.stats()
    assert (stats.alive, stats.stalled) == (True, False)


def test_the_log_says_which_requests_a_failed_step_ends(
    engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(batch: Batch) -> object:
        raise RuntimeError("it broke")

    request = make_request("a")
    with monkeypatch.context() as patched:
        patched.setattr(engine._runner, "run", broken)
        with pytest.raises(Exception, match="The engine failed"):
            asyncio.run(ask(engine, request))

    assert f"it ends: {request.id}" in caplog.text
