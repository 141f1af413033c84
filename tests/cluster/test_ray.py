"""Two replicas on Ray Serve, behind its HAProxy: deploys, a killed replica, and bounds of heads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.namespace import run_isolated
from support.ray_environment import ray_python

pytestmark = [pytest.mark.all, pytest.mark.timeout(900)]

LIMIT_S = 400


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    """What `support.ray_trial` prints: Ray is started once for all tests."""
    found: dict[str, Any] = json.loads(run_isolated(ray_python(), "support.ray_trial", limit_s=LIMIT_S))
    return found


def test_a_deploy_of_both_replicas_loses_no_request(seen: dict[str, Any]) -> None:
    redeploy = seen["redeploy"]

    assert (redeploy["lost"], redeploy["cut"]) == ({}, {})
    assert redeploy["whole"]
    assert redeploy["new"] == 2


def test_a_killed_replica_ends_only_streams_that_had_begun_on_it(seen: dict[str, Any]) -> None:
    kill = seen["kill"]

    assert kill["lost"] == {}
    assert set(kill["cut"]) == {kill["killed"]}
    assert 1 <= kill["cut"][kill["killed"]] <= 16


def test_an_answer_has_one_request_id(seen: dict[str, Any]) -> None:
    ids = seen["ids"]

    assert ids["given"] == ["one.1"]
    assert len(ids["made"]) == 2
    assert len(set(ids["made"])) == 1


def test_the_size_and_the_time_of_a_head_are_bounded(seen: dict[str, Any]) -> None:
    assert seen["heads"] == {"60000": 200, "66000": 400}
    assert seen["slow heads"] == [408, 408]
