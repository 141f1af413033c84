"""Two replicas behind HAProxy, for tests that only ask."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.cluster_site import Site
from support.haproxy import haproxy
from support.replica_server import replicas


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    url = f"sqlite:///{folder}/crossette.db"
    with (
        replicas(pace_s=0.002, database_url=url) as both,
        haproxy(folder, [each.port for each in both]) as proxy,
    ):
        yield Site(proxy.root, both)
