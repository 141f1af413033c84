"""The engine's counters and measurements, and its stalled and dead states."""

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
    assert times.token_gap.count < 5  # accepted draft tokens arrive together with the token before them
    assert times.step.count == times.step_tokens.count == times.step_sequences.count == stats.steps
    assert times.step_sequences.sum == stats.steps  # one in each
    assert times.step_tokens.sum >= len(LONG) + 4
    assert stats.kv_bytes == engine.kv_bytes > 0


def test_outputs_ended_by_their_readers_count_with_their_length(engine: OpenVINOEngine) -> None:
    """A stop string, or a disconnect, frees a slot like any other end."""

    async def disconnect() -> None:
        generation = engine.generate(make_request(LONG, max_tokens=900))
        await anext(generation)
        await generation.aclose()

    run(disconnect())
    run(settle(engine))  # one token more

    assert 1 <= engine.stats().speeds.mean_output_tokens < 450


def test_the_queue_time_of_a_request_with_several_choices_counts_once(engine: OpenVINOEngine) -> None:
    run(ask(engine, make_request(LONG, n=3, max_tokens=2)))

    assert times_of(engine.stats()).queue.count == 1


def test_prefix_cache_lookups_and_hits_are_counted(engine: OpenVINOEngine) -> None:
    run(ask(engine, make_request(LONG)))
    cold = engine.stats()
    run(ask(engine, make_request(LONG)))
    warm = engine.stats()

    num_found = (len(LONG) - 2) // BLOCK_SIZE * BLOCK_SIZE
    assert (cold.lookup_tokens, cold.hit_tokens) == (len(LONG), 0)
    assert (warm.lookup_tokens, warm.hit_tokens) == (2 * len(LONG), num_found)


def test_a_scored_prompt_is_not_looked_up(engine: OpenVINOEngine) -> None:
    run(ask(engine, make_request(LONG, logprobs=0, prompt_logprobs=True)))

    assert engine.stats().lookup_tokens == 0


def test_a_cancellation_is_measured_once(engine: OpenVINOEngine) -> None:
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


def test_a_request_cancelled_before_admission_has_no_queue_time(engine: OpenVINOEngine) -> None:
    async def leave_at_once() -> None:
        generation = engine.generate(make_request(LONG))
        await generation.aclose()
        await settle(engine)

    before = times_of(engine.stats()).queue.count
    run(leave_at_once())

    # `settle` adds one; the other request may have been admitted before its cancellation.
    assert before + 1 <= times_of(engine.stats()).queue.count <= before + 2


@pytest.mark.parametrize("where", ["inbox", "prompt"])
def test_every_choice_of_a_request_counts_as_waiting(
    where: str, engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the inbox during a step, and while the prompt is computed; otherwise the queue would be unbounded."""
    entered, released = threading.Event(), threading.Event()

    def hang(batch: Batch, run: Any = engine._runner.run) -> Any:
        entered.set()
        assert released.wait(LIMIT_S)
        return run(batch)

    async def num_waiting() -> int:
        asking = [asyncio.create_task(ask(engine, make_request(LONG, n=4, max_tokens=2)))]
        await asyncio.to_thread(entered.wait, LIMIT_S)
        if where == "inbox":
            asking.append(asyncio.create_task(ask(engine, make_request(LONG, n=4, max_tokens=2))))
            await asyncio.sleep(0)
        waiting = engine.stats().waiting
        released.set()
        await asyncio.gather(*asking)
        return waiting

    monkeypatch.setattr(engine._runner, "run", hang)

    assert run(num_waiting()) == {"prompt": 3, "inbox": 7}[where]


# --- progress ---


def test_steps_without_progress_turn_readiness_off(engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that schedules nothing although requests wait would spin in short steps."""
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
    monkeypatch.setattr("crossette.engines.openvino.engine.sample", _sample)
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


def _sample(batch: Batch, logits: object, *, threads: int) -> object:
    from crossette.engines.openvino.step import sample

    return sample(batch, logits, threads=threads) if batch.spans else []  # type: ignore[arg-type]  # the runner's result


def test_an_engine_whose_thread_has_ended_is_not_alive(engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `close` should end the thread; after anything else the process must be restarted."""

    with serving(engine) as server:
        assert server.get("/health/live").status_code == 200
        monkeypatch.setattr(engine, "_drain_inbox", lambda: False)
        with server.begin("/v1/completions", {"model": "tiny", "prompt": "a", "max_tokens": 1}) as connection:
            connection.recv(1)  # the request in the inbox is answered, as the last one
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


def test_the_log_names_the_requests_that_a_failed_step_ends(
    engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(batch: Batch) -> object:
        raise RuntimeError("it broke")

    request = make_request("a")
    with monkeypatch.context() as patched:
        patched.setattr(engine._runner, "run", broken)
        with pytest.raises(Exception, match="The engine failed"):
            asyncio.run(ask(engine, request))

    assert f"failed, and with it the requests: {request.id}" in caplog.text
