"""Calls of an embedder without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from crossette.engine import VectorSource

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own, within a time limit."""
    return asyncio.run(asyncio.wait_for(work, 60))


def vectors_of(source: VectorSource, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    async def ask() -> npt.NDArray[np.float32]:
        return await source.embed(rows).vectors()

    return run(ask())
