"""A short form of `scripts/soak`: requests of every kind, after which nothing of them is left in the server."""

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
OURS = (OutputStream, Answer, Choice, GenerationRequest)


def held(api: ApiServer) -> Counter[str]:
    """What there is of clients and their requests: the server's tasks and connections, and our objects alive."""
    gc.collect()
    state = api.server.server_state
    ours = Counter(type(thing).__name__ for thing in gc.get_objects() if type(thing) in OURS)
    return ours + Counter(tasks=len(state.tasks), connections=len(state.connections))


def left(api: ApiServer, before: Counter[str]) -> Counter[str]:
    """What is held beyond what was held before: nothing as soon as the server has heard of every hang-up.

    Fewer than before is none of ours: another test's last objects may go meanwhile.
    """
    limit = time.monotonic() + LIMIT_S
    while (found := held(api) - before) and time.monotonic() < limit:
        time.sleep(0.01)
    return found


def test_nothing_is_left_of_requests_of_every_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    from soak import KINDS, Soak

    engine = FakeEngine(max_sequences=4)  # fewer than there are clients: some of those that hang up are queued
    with serving(engine) as api:
        before = held(api)
        load = Soak(api.url("/v1"), "fake")

        asyncio.run(load.run(NUM_REQUESTS))

        assert load.wrong == []
        assert set(load.done) == {kind.name for kind in KINDS}
        assert left(api, before) == Counter()
        stats = engine.stats()
        assert (stats.running, stats.waiting, stats.blocks_free) == (0, 0, stats.blocks_total)
