"""Failures inside the engine fail the affected requests and free their blocks; the next request works."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crossette.engines.openvino import engine as engine_module
from crossette.engines.openvino.engine import OpenVINOEngine
from crossette.engines.openvino.pace import StepPace
from crossette.engines.openvino.settings import OpenVINOSettings
from crossette.errors import EngineFailure
from support.api_server import serving
from support.engine_calls import LIMIT_S, ask, is_empty, make_request, run, settle
from support.tiny_model import tiny_files


@pytest.fixture(scope="module")
def engine(tiny_model_dir: Path) -> Iterator[OpenVINOEngine]:
    engine = OpenVINOEngine.load(tiny_files(tiny_model_dir), OpenVINOSettings(kv_cache="32MiB", max_step_tokens=64))
    yield engine
    engine.close()


def failing_once(call: Callable[..., Any], after: int, failed: list[bool]) -> Callable[..., Any]:
    """`call`, except that it fails once, after `after` successful calls."""
    calls = iter(range(10**6))

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == after:
            failed.append(True)
            raise RuntimeError("it broke")
        return call(*args, **kwargs)

    return wrapped


BOUNDARIES: dict[str, Callable[[OpenVINOEngine], tuple[Any, str]]] = {
    "schedule": lambda engine: (engine.scheduler, "schedule"),
    "run": lambda engine: (engine._runner, "run"),
    "forward": lambda engine: (engine._runner, "forward"),
    "sample": lambda engine: (engine_module, "sample"),
    "update": lambda engine: (engine.scheduler, "update"),
    "deliver": lambda engine: (engine, "_deliver"),
    "count": lambda engine: (engine, "_count"),
    "pace": lambda engine: (engine._pace, "observe"),
    "begin": lambda engine: (engine, "_begin"),
}


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_failure_at_any_boundary_fails_its_requests_and_the_next_one_works(
    engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch, boundary: str, after: int
) -> None:
    request = make_request("A prompt of more than one block, so that there is something to share", n=2, max_tokens=6)
    expected = run(ask(engine, request))
    owner, name = BOUNDARIES[boundary](engine)

    async def ask_until_it_has_failed() -> None:
        for _ in range(after + 2):
            try:
                assert await ask(engine, replace(request)) == expected
            except EngineFailure:
                break
        assert failed == [True]  # a failure after the output is complete affects no request
        assert await ask(engine, replace(request)) == expected

    failed: list[bool] = []
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, failing_once(getattr(owner, name), after, failed))
        run(ask_until_it_has_failed())
    run(settle(engine))
    assert is_empty(engine)


def test_requests_that_arrive_during_a_step_count_as_waiting_and_throughput_is_measured(
    engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step may take seconds: requests that arrive meanwhile are already queued."""
    entered, released = threading.Event(), threading.Event()
    run_batch = engine._runner.run

    def hang(batch: Any) -> Any:
        entered.set()
        assert released.wait(LIMIT_S)
        return run_batch(batch)

    async def ask_three() -> None:
        asking = [asyncio.ensure_future(ask(engine, make_request((5,) * 10)))]
        await asyncio.to_thread(entered.wait, LIMIT_S)
        asking += [asyncio.ensure_future(ask(engine, make_request((6,) * 20))) for _ in range(2)]
        await asyncio.sleep(0)
        stats = engine.stats()
        assert (stats.running, stats.waiting, stats.pending_prompt_tokens) == (1, 2, 50)
        released.set()
        await asyncio.gather(*asking)

    monkeypatch.setattr(engine._runner, "run", hang)
    run(ask_three())
    run(settle(engine))
    stats = engine.stats()
    assert (stats.waiting, stats.pending_prompt_tokens, is_empty(engine)) == (0, 0, True)
    assert stats.speeds.answer_tokens_per_s > 0
    assert 0 < stats.speeds.mean_output_tokens <= 8


def test_a_hanging_step_turns_readiness_off_until_it_returns(
    engine: OpenVINOEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, released = threading.Event(), threading.Event()
    run_batch = engine._runner.run

    def hang(batch: Any) -> Any:
        entered.set()
        assert released.wait(LIMIT_S)
        return run_batch(batch)

    monkeypatch.setattr(StepPace, "patience_s", 0.0)
    monkeypatch.setattr(engine._runner, "run", hang)
    with serving(engine) as server:
        body = {"model": "tiny", "prompt": "a", "max_tokens": 1}
        asking = threading.Thread(target=lambda: server.post("/v1/completions", body))
        asking.start()
        assert entered.wait(LIMIT_S)

        hanging = server.get("/health/ready")
        live = server.get("/health/live")
        released.set()
        asking.join(LIMIT_S)
        again = server.get("/health/ready")

    assert (hanging.status_code, hanging.json()["status"]) == (503, "stalled")
    assert (live.status_code, again.status_code, again.json()["status"]) == (200, 200, "ok")
