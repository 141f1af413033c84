"""Fake models that a pool loads, under a test's control."""

from __future__ import annotations

import threading
from typing import Any

from crossette.engine import Engine
from crossette.pool.model import ModelSource
from crossette.testing.fake_engine import FakeEngine, Script

LIMIT_S = 20
GIB = 2**30


class Loads:
    """Models that take 1 GiB each. A load waits while its name is held, and fails with `faults[name]`."""

    def __init__(self, script: Script | None = None) -> None:
        self.began: list[str] = []
        self.closed: list[str] = []
        self.faults: dict[str, Exception] = {}
        self._gates: dict[str, threading.Event] = {}
        self._script = script

    def hold(self, name: str) -> threading.Event:
        """The event that lets loads of the model continue."""
        return self._gates.setdefault(name, threading.Event())

    def source(self, name: str, **given: Any) -> ModelSource:  # Any: fields of ModelSource
        def load() -> Engine:
            self.began.append(name)
            if gate := self._gates.get(name):
                assert gate.wait(LIMIT_S)
            if fault := self.faults.get(name):
                raise fault
            return _NotedEngine(name, self._script, self.closed)

        described = FakeEngine(name=name).info
        return ModelSource(**{"name": name, "load": load, "describe": lambda: described, "memory": GIB, **given})


class _NotedEngine(FakeEngine):
    def __init__(self, name: str, script: Script | None, closed: list[str]) -> None:
        super().__init__(script, name=name)
        self._closed_names = closed

    def close(self) -> None:
        self._closed_names.append(self.info.name)
        super().close()
