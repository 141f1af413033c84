"""Waiting for a condition that another thread or process makes true."""

from __future__ import annotations

import time
from collections.abc import Callable

LIMIT_S = 20


def wait_until(condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    """Fails if it takes longer than `limit_s`: far more than any test needs."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
