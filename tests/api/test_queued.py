"""The reported queue wait of a request: of several choices, the longest."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any

import pytest

from crossette.observability.record import GenerationRecord
from crossette.testing.fake_engine import FakeEngine
from support.api_server import LIMIT_S, ApiServer, has, parrot, say, serving

COMPLETION: dict[str, Any] = {"model": "fake", "prompt": say("Hello"), "max_tokens": 50}
CHAT: dict[str, Any] = {"model": "fake", "messages": [{"role": "user", "content": say("Hello")}], "max_tokens": 50}
HEADER = "fireworks-prefill-queue-duration"


@pytest.fixture
def engine() -> FakeEngine:
    """An engine with a batch of one, which the test steps."""
    engine = FakeEngine(parrot, max_sequences=1)
    engine.pause()
    return engine


def work_of(server: ApiServer, status: int = 200) -> GenerationRecord:
    """The work of the only request that ended with this status."""
    (work,) = [record.work for record in server.observed.records if record.status == status]
    assert work is not None
    return work


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("endpoint", "body"), [("completions", COMPLETION), ("chat/completions", CHAT)])
def test_the_queue_wait_of_a_request_is_reported(
    engine: FakeEngine, endpoint: str, body: Mapping[str, Any], streamed: bool
) -> None:
    with serving(engine) as server, ThreadPoolExecutor(1) as client:
        with server.begin("/v1/completions", COMPLETION):
            engine.wait_for(has(waiting=1))
            engine.step()
            engine.wait_for(has(running=1, waiting=0))
            pending = client.submit(server.post, f"/inference/v1/{endpoint}", {**body, "stream": streamed})
            engine.wait_for(has(running=1, waiting=1))
            arrived = monotonic()
            engine.step()
            engine.wait_for(has(running=1, waiting=1, steps=2))
            least = monotonic() - arrived
        engine.resume()
        answer = pending.result(LIMIT_S)
        server.observed.wait_for(2)
        (work,) = [record.work for record in server.observed.records if record.dialect == "fireworks"]

    assert work is not None and work.queued_s is not None and work.time_to_first_token_s is not None
    assert least <= work.queued_s < work.time_to_first_token_s
    assert float(answer.headers[HEADER]) == round(work.queued_s, 3)


@pytest.mark.parametrize("several", [{"n": 2}, {"prompt": [say("a"), say("b")]}], ids=["choices", "prompts"])
def test_the_longest_wait_of_several_prompts_is_reported(engine: FakeEngine, several: dict[str, Any]) -> None:
    with serving(engine) as server, ThreadPoolExecutor(1) as client:
        pending = client.submit(server.post, "/inference/v1/completions", COMPLETION | several)
        engine.wait_for(has(waiting=2))
        arrived = monotonic()
        engine.step()
        engine.wait_for(has(running=1, waiting=1))
        least = monotonic() - arrived
        engine.resume()
        answer = pending.result(LIMIT_S)
        server.observed.wait_for(1)
        work = work_of(server)

    assert work.queued_s is not None and work.ended_s is not None
    assert least <= work.queued_s < work.ended_s
    assert float(answer.headers[HEADER]) == round(work.queued_s, 3)


@pytest.mark.parametrize("is_begun", [False, True], ids=["in the queue", "in the batch"])
def test_a_disconnected_request_has_a_queue_wait_only_if_it_had_started(engine: FakeEngine, is_begun: bool) -> None:
    with serving(engine) as server:
        with server.begin("/v1/completions", COMPLETION):
            engine.wait_for(has(waiting=1))
            if is_begun:
                engine.step()
                engine.wait_for(has(running=1))
        server.wait_until_idle()
        server.observed.wait_for(1)
        work = work_of(server, 499)

    assert (work.queued_s is not None) == is_begun
