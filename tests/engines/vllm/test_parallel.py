"""A real vLLM with one model over two processes, in a network of its own, behind the real server."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from support.namespace import run_isolated

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1800)]


TENSOR = "--tensor-parallel-size=2"


def trial(request: pytest.FixtureRequest, *arguments: str) -> str:
    """What `support.vllm_trial` prints of a vLLM with these arguments."""
    program = request.config.getoption("--vllm")
    return run_isolated(sys.executable, "support.vllm_trial", program, *arguments, limit_s=1700)


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(trial(request, TENSOR))
    return found


def test_greedy_texts_equal_those_of_one_process(seen: dict[str, Any]) -> None:
    assert seen["together"] == seen["alone"]
    assert len(set(seen["alone"])) == len(seen["alone"])


def test_a_killed_process_ends_streams_with_one_error_and_comes_back(seen: dict[str, Any]) -> None:
    assert seen["ranks"] == 2
    assert seen["streams"] == [{"errors": 1, "done": 0}] * len(seen["alone"])
    assert seen["refused"] == 503
    assert seen["again"] == seen["alone"]


def test_ray_is_not_for_a_cpu(request: pytest.FixtureRequest) -> None:
    with pytest.raises(AssertionError, match="current platform cpu does not support ray"):
        trial(request, TENSOR, "--distributed-executor-backend=ray")
