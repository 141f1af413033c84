"""Fixtures for database tests, which run on SQLite always and on PostgreSQL with --all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from crossette.accounts.database.authenticator import KeyAuthenticator
from crossette.accounts.database.database import Database
from crossette.accounts.database.keys import Keys
from support.key_clock import Clock
from support.postgres import Cluster, cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.all)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/crossette.db"
    running: Cluster = request.getfixturevalue("postgres")
    return running.emptied()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database."""
    migrated = Database(database_url)
    migrated.migrate()
    yield migrated
    migrated.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(database: Database, clock: Clock) -> Keys:
    return Keys(database, clock)


@pytest.fixture
def auth(keys: Keys, clock: Clock) -> KeyAuthenticator:
    return KeyAuthenticator(keys, clock=clock)
