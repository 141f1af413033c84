"""A model of the pool: its source, its state, and who uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from crossette.engine import AnyEngine, ModelInfo


class ModelState(StrEnum):
    """Whether a model is in memory."""

    COLD = "cold"
    """Never loaded."""
    LOADING = "loading"
    AWAKE = "awake"
    """Loaded."""
    ASLEEP = "asleep"
    """Unloaded; the next request loads it again."""
    FAILED = "failed"
    """The last attempt to load it failed; requests try again after a while."""


@dataclass(frozen=True)
class ModelSource:
    """How a model is loaded, and how long it stays."""

    name: str
    load: Callable[[], AnyEngine]
    """Loads the model. Takes seconds; raises ModelError or ConfigError."""
    describe: Callable[[], ModelInfo]
    """Reads what its files say of it. The vocabulary size is 0; the engine may serve a shorter context."""
    memory: int = 0
    """An estimate of the bytes that it takes; 0 if another process runs it."""
    weights: int = 0
    """The bytes of its files; 0 if `memory` is exact."""
    keep: bool = False
    """Whether it is loaded at the start and never unloaded."""
    cancel: Callable[[], None] = lambda: None
    """Makes a load fail soon. Called when the server shuts down."""
    adapters: tuple[str, ...] = ()
    """The names of its adapters, which are loaded with it."""
    idle_unload_s: float = 0
    """Seconds without a request after which it is unloaded; 0: never."""
    stored: str | None = None
    """Its name in the model store; None if its files are elsewhere."""


@dataclass(eq=False)
class PooledModel:
    """The state of one model. Changed in the event loop's thread only."""

    source: ModelSource
    state: ModelState = ModelState.COLD
    engine: AnyEngine | None = None
    """Set while the state is AWAKE."""
    error: str = ""
    """Why the last attempt to load it failed."""
    num_users: int = 0
    """Requests that use the model or wait for it."""
    last_used: float = 0
    """When the last request ended or the model was loaded, in seconds of a monotonic clock."""
    is_expected: bool = False
    """Whether a request was answered that it can retry once the model is loaded."""
    loading_since: float = 0
    failed_at: float = 0
    num_loads: int = 0
    num_failures: int = 0
    load_s: float | None = None
    """How long the last load took; None if there was none."""
    loading: asyncio.Task[None] | None = field(default=None, repr=False)
    closing: asyncio.Task[None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.memory = self.source.memory
        """The bytes that it takes: an estimate until it is loaded for the first time."""

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def info(self) -> ModelInfo:
        return self._described if self.engine is None else self.engine.info

    @property
    def holds_memory(self) -> bool:
        return self.engine is not None or self.closing is not None

    @property
    def is_idle(self) -> bool:
        """Whether it could be unloaded now."""
        return self.engine is not None and not self.num_users

    @cached_property
    def _described(self) -> ModelInfo:
        return self.source.describe()
