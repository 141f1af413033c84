"""A PostgreSQL for the tests of what replicas share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.postgres import Cluster, cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture
def url(postgres: Cluster) -> str:
    """The URL of a database with empty tables."""
    return postgres.migrated()
