"""A short version of `scripts/soak`: requests of every kind leak nothing."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from pathlib import Path

import pytest

from crossette.engines.stream import OutputStream
from crossette.generation.answer import Answer
from crossette.generation.choice import Choice
from crossette.testing.fake_engine import FakeEngine
from crossette.types import GenerationRequest
from support.api_server import LIMIT_S, ApiServer, serving

pytestmark = pytest.mark.slow

NUM_REQUESTS = 300
COUNTED = (OutputStream, Answer, Choice, GenerationRequest)


def live_objects(api: ApiServer) -> Counter[str]:
    """Counts of live objects of clients and requests: the server's tasks and connections, and objects of crossette."""
    gc.collect()
    state = api.server.server_state
    counts = Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in COUNTED)
    return counts + Counter(tasks=len(state.tasks), connections=len(state.connections))


def leaked(api: ApiServer, before: Counter[str]) -> Counter[str]:
    """The live objects in excess of an earlier count: none once the server has handled all disconnects.

    There may be fewer than before: objects of another test may be freed meanwhile.
    """
    limit = time.monotonic() + LIMIT_S
    while (found := live_objects(api) - before) and time.monotonic() < limit:
        time.sleep(0.01)
    return found


def test_requests_of_every_kind_leak_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from soak import KINDS, Soak

    engine = FakeEngine(max_sequences=4)  # fewer than clients, so that some of those that disconnect are queued
    with serving(engine) as api:
        before = live_objects(api)
        load = Soak(api.url("/v1"), "fake")

        asyncio.run(load.run(NUM_REQUESTS))

        assert load.wrong == []
        assert set(load.done) == {kind.name for kind in KINDS}
        assert leaked(api, before) == Counter()
        stats = engine.stats()
        assert (stats.running, stats.waiting, stats.blocks_free) == (0, 0, stats.blocks_total)
