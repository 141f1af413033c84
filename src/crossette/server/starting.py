"""The models of a server at its start, and how it pulls further ones: the same for each way to run it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from crossette.api.models import ServedModels
from crossette.models.fetch import Progress
from crossette.models.store import ModelStore, StoredModel
from crossette.server.pulling import ModelPuller
from crossette.server.remote import remote_models
from crossette.server.served import added_source, aliases, choose_models, loaded_at_start, model_pool
from crossette.server.settings import Settings


def start_models(
    settings: Settings,
    store: ModelStore,
    pull: Callable[[str], StoredModel],
    loading: Callable[[str], AbstractContextManager[object]] = nullcontext,
) -> ServedModels:
    """The models that the settings name; those of `loaded_at_start` are loaded, each within `loading(NAME)`.

    Raises ModelError or ConfigError.
    """
    chosen = choose_models(settings, pull, store)
    pool = model_pool(chosen, settings)
    remotes = remote_models(settings, os.environ)
    names = aliases([*chosen, *remotes], settings.server.alias)
    models = ServedModels(pool, names, {remote.name: remote.model for remote in remotes})
    for name in loaded_at_start(chosen):
        with loading(name):
            pool.start(name)
    return models


def puller_of(
    models: ServedModels, settings: Settings, store: ModelStore, pull: Callable[[str, Progress], StoredModel]
) -> ModelPuller:
    """Pulls models for clients into the store, and serves them beside `models`."""
    return ModelPuller(models, pull, partial(added_source, settings=settings, pool=models.pool), store.remove)
