"""Which models a server serves, how each is loaded, and under which names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Event
from typing import Any

from crossette.engine import AnyEngine, ModelFiles, ModelInfo
from crossette.engines.registry import BACKENDS, load_engine
from crossette.errors import ConfigError
from crossette.folders import cache_folder
from crossette.machine import free_memory, parse_memory
from crossette.models.adapters import find_adapter
from crossette.models.catalogue import DEFAULT
from crossette.models.checkpoint import Checkpoint, find_checkpoint
from crossette.models.differences import known_differences
from crossette.models.encoder import read_embedding_facts
from crossette.models.facts import end_token_ids, sampling_defaults
from crossette.models.graphs import sees
from crossette.models.store import ModelStore, StoredModel
from crossette.models.window import window_limits
from crossette.pool.model import ModelSource
from crossette.pool.pool import ModelPool
from crossette.server.adapters import ServedAdapter, is_adapter, with_adapters
from crossette.server.model_settings import MODEL_SETTINGS, ModelSettings
from crossette.server.remote import Remote, check_local
from crossette.server.settings import Settings
from crossette.text.tool_calls.families import FORMATS

_KV_SHARE = 0.30
"""The most that the KV cache of one of several models takes by default, of the free memory."""
_ALL_KV_SHARES = 0.75
"""What the KV caches of several models take together by default, of the memory for all models."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is served under `name`."""

    name: str
    model: StoredModel | Checkpoint
    settings: ModelSettings = field(default_factory=ModelSettings)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of its engine that differ from those of the server."""
    adapters: tuple[ServedAdapter, ...] = ()

    @property
    def generates(self) -> bool:
        return isinstance(self.model, Checkpoint) or self.model.record.kind == "generation"


def choose_models(settings: Settings, pull: Callable[[str], StoredModel], store: ModelStore) -> list[Served]:
    """The models of this server that the settings name, the default first; `pull` downloads those the store lacks.

    Raises ModelError or ConfigError.
    """
    chosen: dict[str, Served] = {}
    for name, reference in _references(settings):
        given = settings.models.get(name, {})
        check_local(name, given)
        own = ModelSettings(**{key: value for key, value in given.items() if _is_own(key)})
        check_tool_format(own.tool_format)
        options = _engine_options(own.engine, given)
        find = pull if BACKENDS[own.engine].in_process else find_checkpoint
        model = find(own.ref or reference)
        served = Served(name or model.name, model, own, options)
        if served.name in chosen:
            raise ConfigError(f"Two models have the name {served.name!r}. Give each a table [models.NAME] with a ref.")
        chosen[served.name] = served
    if settings.server.all:
        for stored in store.models():
            chosen.setdefault(stored.name, Served(stored.name, stored))
    _check_engines(settings, chosen.values())
    if not chosen and settings.server.all:
        raise ConfigError("--all serves the models of the store, and it has none. Add one with: crossette pull MODEL")
    return with_adapters(list(chosen.values()), settings, find_adapter)


def takes_default(settings: Settings) -> bool:
    """Whether the settings name no model, so that the default one is served."""
    return not settings.server.model and all(map(is_adapter, settings.models.values())) and not settings.server.all


def model_pool(chosen: Sequence[Served], settings: Settings) -> ModelPool:
    """The pool of these models, none of them loaded. Raises ConfigError."""
    check_tool_format(settings.server.tool_format)
    free = free_memory()
    return ModelPool(
        [source_of(served, settings, free=free, num_models=len(chosen)) for served in chosen],
        memory=parse_memory(settings.loading.memory, free),
        max_wait_s=settings.queue.max_wait,
        max_waiting=settings.queue.max_waiting,
    )


def loaded_at_start(chosen: Sequence[Served]) -> list[str]:
    """The models that are loaded before the server is ready: those that are kept, or the only one."""
    return [served.name for served in chosen if served.settings.keep or len(chosen) == 1]


def added_source(stored: StoredModel, *, settings: Settings, pool: ModelPool) -> ModelSource:
    """How a model is loaded that joins those of the pool."""
    return source_of(Served(stored.name, stored), settings, free=free_memory(), num_models=len(pool.models) + 1)


def aliases(chosen: Sequence[Served | Remote], pairs: Sequence[str]) -> dict[str, str]:
    """Further names of models: `NAME=MODEL` pairs of --alias, a bare NAME for the first one, and those of the tables.

    Raises ConfigError.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        name, _, target = pair.partition("=")
        if not name:
            raise ConfigError(f"--alias {pair!r} has no name. Give NAME=MODEL.")
        found[name] = target or chosen[0].name
    for target, names in _table_aliases(chosen):
        for name in names:
            if name in found:
                raise ConfigError(f"{name!r} is an alias of two models: {found[name]} and {target}.")
            found[name] = target
    return found


def _table_aliases(chosen: Sequence[Served | Remote]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The names of models and adapters, each with the aliases of its table."""
    for served in chosen:
        yield served.name, served.settings.alias
        if isinstance(served, Served):
            yield from ((adapter.name, adapter.alias) for adapter in served.adapters)


def check_tool_format(name: str) -> None:
    """Raise ConfigError for an unknown tool format."""
    if name and name not in FORMATS:
        raise ConfigError(f"--tool-format {name!r} is unknown. It must be one of {', '.join(FORMATS)}.")


def model_files(
    stored: StoredModel, *, name: str = "", tool_format: str = "", adapters: Iterable[ServedAdapter] = ()
) -> ModelFiles:
    """The files and metadata of a stored model for an engine; `name` is the name under which it is served."""
    record = stored.record
    return ModelFiles(
        path=stored.path,
        cache=cache_folder() / "notes",
        add_bos=record.add_bos,
        name=name or stored.name,
        architecture=record.architecture,
        quantization=record.quantization,
        context_length=record.context_length,
        end_token_ids=frozenset(record.end_token_ids),
        chat_template=stored.chat_template,
        tool_format=tool_format,
        sampling_defaults=sampling_defaults(stored.path),
        sees=sees(stored.path),
        limits=window_limits(stored.path),
        differences=known_differences(stored.path),
        embedding=read_embedding_facts(stored.path, stored.name) if record.kind == "embedding" else None,
        created=record.created,
        adapters={adapter.name: adapter.folder for adapter in adapters},
    )


def checkpoint_files(model: Checkpoint, *, name: str, tool_format: str) -> ModelFiles:
    """The files and metadata of a model whose engine reads the weights itself."""
    facts = model.facts
    return ModelFiles(
        path=model.path,
        add_bos=facts.add_bos,
        name=name,
        architecture=facts.architecture,
        quantization=facts.quantization,
        context_length=facts.context_length,
        end_token_ids=end_token_ids(facts),
        chat_template=facts.chat_template,
        tool_format=tool_format,
        sampling_defaults=sampling_defaults(model.path),
        created=model.created,
        source=model.source,
        revision=model.revision,
    )


def _references(settings: Settings) -> Iterator[tuple[str, str]]:
    """The models by the name of their table, "" for none, and their reference."""
    named = (DEFAULT.name,) if takes_default(settings) else settings.server.model
    for reference in named:
        if _is_remote(reference, settings):
            continue
        yield (reference if reference in settings.models else ""), reference
    for name in settings.models:
        if name not in named and not _is_remote(name, settings) and not is_adapter(settings.models[name]):
            yield name, name


def _is_remote(name: str, settings: Settings) -> bool:
    return settings.models.get(name, {}).get("engine") == "remote"


def _is_own(key: str) -> bool:
    return MODEL_SETTINGS[key].section == "models"


def _check_engines(settings: Settings, chosen: Iterable[Served]) -> None:
    """Raise ConfigError for settings of an engine outside this process that no model uses."""
    used = {served.settings.engine for served in chosen}
    for name, backend in BACKENDS.items():
        if not backend.in_process and name not in used and settings.engines[name] != backend.settings():
            raise ConfigError(
                f"There are settings of the engine {name!r}, but no model runs on it. Give the table of a model,"
                f" [models.NAME], engine = {name!r}."
            )


def _engine_options(engine: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the engine in a table. Raises ConfigError for those of another engine."""
    options = {key: value for key, value in given.items() if not _is_own(key)}
    for key in options:
        if MODEL_SETTINGS[key].section != engine:
            raise ConfigError(
                f"The table of a model with engine = {engine!r} sets {key!r}, a setting of the engine"
                f" {MODEL_SETTINGS[key].section!r}. Remove one of them."
            )
    return options


def source_of(served: Served, settings: Settings, *, free: int, num_models: int) -> ModelSource:
    """How a model is loaded: one of `num_models`, with `free` bytes of memory for all."""
    if isinstance(served.model, Checkpoint):
        return _source_outside(served, served.model, settings)
    return _source_in_process(served, served.model, settings, free=free, num_models=num_models)


def _source_outside(served: Served, model: Checkpoint, settings: Settings) -> ModelSource:
    """A model of an engine outside this process, whose memory is not counted here."""
    own = served.settings
    engines = dict(settings.engines)
    engines[own.engine] = dataclasses.replace(engines[own.engine], **served.options)
    files = partial(
        checkpoint_files, model, name=served.name, tool_format=own.tool_format or settings.server.tool_format
    )
    cancelled = Event()
    return ModelSource(
        served.name,
        load=lambda: load_engine(files(), engines, own.engine, cancelled),
        cancel=cancelled.set,
        describe=lambda: files().info(context_length=model.facts.context_length, vocab_size=0),
        keep=own.keep,
        idle_unload_s=_idle_unload_s(served, settings),
    )


def _idle_unload_s(served: Served, settings: Settings) -> float:
    own = served.settings
    return settings.loading.idle_unload if own.idle_unload is None else own.idle_unload


def _source_in_process(
    served: Served, stored: StoredModel, settings: Settings, *, free: int, num_models: int
) -> ModelSource:
    own = served.settings
    engines = dict(settings.engines)
    options = dataclasses.replace(engines[own.engine], **served.options)
    memory = parse_memory(settings.loading.memory, free)
    default = int(min(_KV_SHARE * free, _ALL_KV_SHARES * memory / num_models))
    kv_bytes = parse_memory(options.kv_cache, free) if options.kv_cache else default
    if num_models > 1:  # the free memory depends on the models that are loaded already
        options = dataclasses.replace(options, kv_cache=str(kv_bytes))
    engines[own.engine] = options
    files = partial(
        model_files,
        stored,
        name=served.name,
        tool_format=own.tool_format or settings.server.tool_format,
        adapters=served.adapters,
    )

    def load() -> AnyEngine:
        return load_engine(files(), engines, own.engine)

    def describe() -> ModelInfo:
        found = files()
        length = min(found.context_length, options.max_model_len or found.context_length)
        return found.info(context_length=length, vocab_size=0)

    weights = stored.size + sum(adapter.size for adapter in served.adapters)
    return ModelSource(
        served.name,
        load=load,
        describe=describe,
        weights=weights,
        memory=weights + (kv_bytes if stored.record.kind == "generation" else 0),
        adapters=tuple(adapter.name for adapter in served.adapters),
        keep=own.keep,
        idle_unload_s=_idle_unload_s(served, settings),
        stored=stored.name,
    )
