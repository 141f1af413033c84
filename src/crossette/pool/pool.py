"""The models of a server: loaded when they are asked for, unloaded for lack of memory or use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from time import monotonic
from typing import cast

from crossette.engine import AnyEngine, Embedder, Engine
from crossette.errors import ConfigError, ModelError, ModelLoading, ModelUnavailable, ShuttingDown
from crossette.machine import format_memory
from crossette.pool.adapter import AdapterModel
from crossette.pool.model import ModelSource, ModelState, PooledModel
from crossette.pool.room import room_for

log = logging.getLogger(__name__)

MIN_IDLE_S = 5.0
"""A model that was used in these seconds is not unloaded for another one."""
RETRY_S = 30.0
"""A load that failed is not tried again for so long."""
_UNKNOWN_S = 10.0
"""`retry-after` while no load of a model has been measured."""


class Lease:
    """The use of a loaded model: it stays loaded until `release`, which may be called more than once."""

    def __init__(
        self, model: PooledModel, on_release: Callable[[PooledModel], None], adapter: str | None = None
    ) -> None:
        self._model = model
        self.adapter = adapter
        """The adapter that is leased with the model; None for the model itself."""
        self._on_release = on_release
        self._is_released = False
        model.num_users += 1

    @property
    def engine(self) -> Engine:
        """The engine of a model that generates."""
        engine = self._loaded
        assert engine.info.embedding is None  # much faster than a protocol's instance check
        return cast(Engine, engine)

    @property
    def is_embedding(self) -> bool:
        return isinstance(self._loaded, Embedder)

    @property
    def embedder(self) -> Embedder:
        """The embedder of an embedding model."""
        engine = self._loaded
        assert isinstance(engine, Embedder)
        return engine

    @property
    def _loaded(self) -> AnyEngine:
        engine = self._model.engine
        assert engine is not None  # a leased model is never unloaded
        return engine

    def release(self) -> None:
        if not self._is_released:
            self._is_released = True
            self._model.num_users -= 1
            self._on_release(self._model)


class ModelPool:
    """Models by name. Called in the event loop's thread, except `start` and `close`.

    `memory` bounds the loaded models together, in bytes; None for no bound. `max_wait_s` and `max_waiting` bound the
    requests that wait for a load.
    """

    def __init__(
        self,
        sources: Iterable[ModelSource],
        *,
        memory: int | None = None,
        max_wait_s: float = 60.0,
        max_waiting: int = 512,
        min_idle_s: float = MIN_IDLE_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.models: dict[str, PooledModel] = {source.name: PooledModel(source) for source in sources}
        self.adapters: dict[str, AdapterModel] = {
            name: AdapterModel(name, model) for model in self.models.values() for name in model.source.adapters
        }
        self.engines: dict[str, AnyEngine] = {}
        """Those of the loaded models, by name."""
        self.memory = memory
        self._max_wait_s = max_wait_s
        self._max_waiting = max_waiting
        self._min_idle_s = min_idle_s
        self._clock = clock
        self._turn = asyncio.Lock()
        """One load at a time in this process: each takes all cores, and memory is counted before it is taken."""
        self._changed = asyncio.Event()
        """A model became idle or was unloaded."""
        self._closed = asyncio.Event()

    @classmethod
    def of(cls, engines: Mapping[str, AnyEngine]) -> ModelPool:
        """A pool of loaded models, which are never unloaded."""
        pool = cls(_loaded(name, engine) for name, engine in engines.items())
        for name in engines:
            pool.start(name)
        return pool

    def add(self, source: ModelSource) -> PooledModel:
        self.models[source.name] = model = PooledModel(source)
        return model

    def remove(self, name: str) -> None:
        """Forget a model that is not loaded and that no request uses."""
        del self.models[name]

    def start(self, name: str) -> AnyEngine:
        """Load a model before the event loop runs. Raises ModelError or ConfigError."""
        model = self.models[name]
        begun = self._clock()
        engine = model.source.load()
        self._note_loaded(model, engine, begun)
        return engine

    async def acquire(self, name: str) -> Lease:
        """Lease a model, or the base of an adapter, once it is loaded.

        Raises ModelLoading if that takes too long, ModelUnavailable if it failed.
        """
        model = self._named(name)
        lease = Lease(model, self._note_release, name if name in self.adapters else None)
        if model.engine is not None:
            return lease
        try:
            await self._wait_until_loaded(model)
        except BaseException:
            lease.release()
            raise
        return lease

    async def load(self, name: str) -> None:
        """Load a model now. Raises ModelUnavailable if that fails."""
        model = self._named(name)
        model.failed_at = 0
        lease = Lease(model, self._note_release)
        try:
            while model.engine is None:
                await self._ended(self._begin_load(model))
                if model.error or self._closed.is_set():
                    raise self._failure(model)
        finally:
            lease.release()

    async def unload(self, name: str) -> bool:
        """Unload a model that is not in use. False if it is in use, kept, or not loaded."""
        model = self._named(name)
        if not model.is_idle or model.source.keep:
            return False
        await asyncio.shield(self._begin_unload(model))
        return True

    def plan_unloads(self) -> None:
        """Start the idle time of the models that were loaded before the event loop ran."""
        for model in self.models.values():
            if model.is_idle:
                self._plan_idle_unload(model)

    def close(self) -> None:
        """Fail all running requests and free all models. Returns once the engines have stopped."""
        self._closed.set()
        for model in self.models.values():
            model.source.cancel()
        for engine in list(self.engines.values()):
            engine.close()

    def _named(self, name: str) -> PooledModel:
        """The model of a name, or the base of an adapter."""
        adapter = self.adapters.get(name)
        return self.models[name] if adapter is None else adapter.base

    # --- waiting ---

    async def _wait_until_loaded(self, model: PooledModel) -> None:
        if model.state == ModelState.FAILED and self._clock() < model.failed_at + RETRY_S:
            raise self._failure(model)
        loading = self._begin_load(model)
        expected = self._expected_s(model)
        if model.num_users > self._max_waiting or expected > self._max_wait_s:
            raise self._still_loading(model, expected)
        try:
            async with asyncio.timeout(self._max_wait_s):
                await self._ended(loading)
        except TimeoutError:
            raise self._still_loading(model, self._expected_s(model)) from None
        if model.engine is None:
            raise self._failure(model)

    async def _ended(self, loading: asyncio.Task[None]) -> None:
        """Wait until a load has ended, or the pool is closed: a load in a thread cannot be cancelled."""
        closed = asyncio.create_task(self._closed.wait())
        try:
            await asyncio.wait({loading, closed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closed.cancel()
        if loading.done():
            loading.result()

    def _expected_s(self, model: PooledModel) -> float:
        """How long the load still takes, by the last one; 0 if there was none."""
        if model.load_s is None:
            return 0
        begun = model.loading_since or self._clock()
        return max(0, begun + model.load_s - self._clock())

    def _still_loading(self, model: PooledModel, expected: float) -> ModelLoading:
        model.is_expected = True
        return ModelLoading(
            f"The model '{model.name}' is being loaded. Retry later.",
            hint="--max-wait and --max-waiting are the limits",
            retry_after=expected or _UNKNOWN_S,
        )

    def _failure(self, model: PooledModel) -> ModelUnavailable | ShuttingDown:
        if self._closed.is_set():
            return ShuttingDown("The server is shutting down. Retry in a moment.")
        wait_s = max(1.0, model.failed_at + RETRY_S - self._clock())
        return ModelUnavailable(f"The model '{model.name}' cannot be loaded: {model.error}", retry_after=wait_s)

    # --- loading ---

    def _begin_load(self, model: PooledModel) -> asyncio.Task[None]:
        """The task that loads a model: one for all that wait for it."""
        if model.loading is None:
            model.state, model.error = ModelState.LOADING, ""
            model.loading = asyncio.create_task(self._load(model))
        return model.loading

    async def _load(self, model: PooledModel) -> None:
        try:
            async with self._turn if model.memory else nullcontext():  # another process may load for minutes
                if model.closing is not None:
                    await model.closing
                if await self._has_room(model):
                    await self._load_in_thread(model)
        finally:
            model.loading, model.loading_since, model.is_expected = None, 0, False

    async def _load_in_thread(self, model: PooledModel) -> None:
        model.loading_since = begun = self._clock()
        log.info("Loading %s", model.name)
        try:
            engine = await asyncio.to_thread(model.source.load)
        except (ModelError, ConfigError) as error:
            self._note_failure(model, str(error))
        except Exception as error:
            log.exception("The model %s cannot be loaded", model.name)
            self._note_failure(model, f"{type(error).__name__}, see the log of the server.")
        else:
            self._note_loaded(model, engine, begun)
            log.info("Loaded %s in %.1f s", model.name, model.load_s)
            if self._closed.is_set():
                engine.close()

    def _note_loaded(self, model: PooledModel, engine: AnyEngine, begun: float) -> None:
        model.engine, model.state, model.error = engine, ModelState.AWAKE, ""
        model.last_used = self._clock()
        model.load_s = model.last_used - begun
        model.num_loads += 1
        if model.source.weights:
            model.memory = model.source.weights + engine.stats().kv_bytes
        self.engines[model.name] = engine

    def _note_failure(self, model: PooledModel, reason: str) -> None:
        model.state, model.error, model.failed_at = ModelState.FAILED, reason, self._clock()
        model.num_failures += 1

    # --- memory ---

    async def _has_room(self, model: PooledModel) -> bool:
        """Unload others, or wait until they may be, until the model fits. False if no request waits for it any more."""
        while self.memory is not None:
            if not model.num_users and not model.is_expected:
                model.state = ModelState.ASLEEP if model.load_s is not None else ModelState.COLD
                return False
            room = room_for(
                model,
                self.models.values(),
                memory=self.memory,
                now=self._clock(),
                min_idle_s=self._min_idle_s,
            )
            if room.fits:
                break
            if room.unload is not None:
                await self._begin_unload(room.unload)
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(room.wait_s):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return True

    def _begin_unload(self, model: PooledModel) -> asyncio.Task[None]:
        assert model.engine is not None
        engine, model.engine, model.state = model.engine, None, ModelState.ASLEEP
        del self.engines[model.name]
        model.closing = asyncio.create_task(self._close(model, engine))
        return model.closing

    async def _close(self, model: PooledModel, engine: AnyEngine) -> None:
        try:
            await asyncio.to_thread(engine.close)
        finally:
            model.closing = None
            self._changed.set()
        freed = f", {format_memory(model.memory)}" if model.memory else ""
        log.info("Unloaded %s%s", model.name, freed)

    def _note_release(self, model: PooledModel) -> None:
        if model.num_users:
            return
        self._changed.set()
        if model.engine is not None:
            model.last_used = self._clock()
            self._plan_idle_unload(model)

    def _plan_idle_unload(self, model: PooledModel) -> None:
        if model.source.idle_unload_s and not model.source.keep:
            loop = asyncio.get_running_loop()
            loop.call_later(model.source.idle_unload_s, self._unload_if_idle, model, model.last_used)

    def _unload_if_idle(self, model: PooledModel, last_used: float) -> None:
        if model.is_idle and model.last_used == last_used and not self._closed.is_set():
            self._begin_unload(model)


def _loaded(name: str, engine: AnyEngine) -> ModelSource:
    return ModelSource(
        name, load=lambda: engine, describe=lambda: engine.info, keep=True, adapters=engine.info.adapters
    )
