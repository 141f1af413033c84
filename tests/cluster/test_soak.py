"""Two replicas, a proxy and PostgreSQL for a while; ten minutes of the same are `scripts/reliability --long`."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.cluster_soak import soak
from support.postgres import cluster
from support.stream_load import TEXT

pytestmark = pytest.mark.all

SECONDS = 20
MAX_GROWTH = 16 * 2**20


def test_each_request_has_its_row_and_memory_stays_flat(tmp_path: Path) -> None:
    with cluster() as postgres:
        outcome = soak(tmp_path, postgres, SECONDS, num_samples=10)

    seen = outcome.seen
    assert (seen.lost, seen.cut, seen.bodies) == ({}, {}, {TEXT})
    assert outcome.num_rows == seen.complete.total() >= 16
    assert outcome.used_tokens == outcome.ledger_tokens > 0
    assert outcome.num_leases == 0
    assert set(seen.complete) == {"replica-1", "replica-2"}
    assert max(outcome.growth(name) for name in outcome.resident) <= MAX_GROWTH
