"""Two replicas behind HAProxy, while one of them is stopped, killed or replaced under streams."""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from support.haproxy import haproxy
from support.replica_server import ReplicaServer, replica, replicas
from support.stream_load import TEXT, Seen, stream_load, until

pytestmark = pytest.mark.all

PACE_S = 0.01
DRAIN = {"drain_delay": 3, "drain_timeout": 30}


def test_a_replica_that_is_stopped_loses_no_request(tmp_path: Path) -> None:
    with replicas(pace_s=PACE_S, **DRAIN) as both, haproxy(tmp_path, [each.port for each in both]) as proxy:
        leaving, staying = both

        async def stop(seen: Seen) -> None:
            await until(seen, lambda seen: min(seen.complete[each.name] for each in both) >= 8)
            assert await asyncio.to_thread(leaving.stop) == 0
            before = seen.complete[staying.name]
            await until(seen, lambda seen: seen.complete[staying.name] >= before + 16)

        seen = asyncio.run(stream_load(proxy.root, stop))

    assert (seen.lost, seen.cut) == ({}, {})
    assert seen.bodies == {TEXT}
    assert set(seen.complete) == {leaving.name, staying.name}


def test_a_killed_replica_ends_only_streams_that_had_begun_on_it(tmp_path: Path) -> None:
    with replicas(pace_s=PACE_S) as both, haproxy(tmp_path, [each.port for each in both]) as proxy:
        killed, staying = both

        async def kill(seen: Seen) -> None:
            await until(seen, lambda seen: min(seen.complete[each.name] for each in both) >= 8)
            assert await asyncio.to_thread(killed.stop, signal.SIGKILL) == -signal.SIGKILL
            before = seen.complete[staying.name]
            await until(seen, lambda seen: seen.complete[staying.name] >= before + 48)

        seen = asyncio.run(stream_load(proxy.root, kill))

    assert seen.lost == {}
    assert set(seen.cut) <= {killed.name}
    assert 1 <= seen.cut[killed.name] <= 16


def test_a_rolling_restart_loses_no_request(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = [stack.enter_context(replica(f"old-{index}", pace_s=PACE_S, **DRAIN)) for index in range(2)]
        proxy = stack.enter_context(haproxy(tmp_path, [each.port for each in first]))

        async def restart(seen: Seen) -> None:
            for old in first:
                await until(seen, lambda seen: sum(seen.complete.values()) >= 8)
                assert await asyncio.to_thread(old.stop) == 0
                new = await asyncio.to_thread(start, old)
                await until(seen, lambda seen, name=new.name: seen.complete[name] >= 8)  # type: ignore[misc]

        def start(old: ReplicaServer) -> ReplicaServer:
            name = old.name.replace("old", "new")
            return stack.enter_context(replica(name, port=old.port, pace_s=PACE_S, **DRAIN))

        seen = asyncio.run(stream_load(proxy.root, restart))

    assert (seen.lost, seen.cut) == ({}, {})
    assert seen.bodies == {TEXT}
    assert {"new-0", "new-1"} <= set(seen.complete)
