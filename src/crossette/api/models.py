"""Served models, their names and aliases, and GET /models."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from crossette.api.exchange import Exchange
from crossette.api.http import json_response
from crossette.engine import Engine
from crossette.errors import ConfigError, ModelNotFound

_MAX_SHOWN = 200
"""Maximum characters of a model's name in an error message."""


class ServedModels:
    """The engines by model name, and their aliases. Raises ConfigError for an alias of a model that is not served."""

    def __init__(self, engines: Mapping[str, Engine], aliases: Mapping[str, str] | None = None) -> None:
        self.engines = engines
        self.aliases = dict(aliases or {})
        for alias, target in self.aliases.items():
            if target not in engines:
                raise ConfigError(
                    f"--alias {alias}={target}: {target} is not served. Served: {', '.join(engines) or 'nothing'}."
                )

        self._names: Collection[str] = (*self.engines, *self.aliases)

    def only(self, names: frozenset[str] | None) -> ServedModels:
        """These models restricted to `names` (None: all). A model's name includes its aliases."""
        if names is None:
            return self
        some = ServedModels(self.engines, self.aliases)
        some._names = [name for name in self._names if not names.isdisjoint((name, self.aliases.get(name, name)))]
        return some

    def find(self, name: str) -> Engine:
        """The engine for a request's model: a name, an alias, or the last part of `accounts/…/models/…`.

        Raises ModelNotFound, listing what is served.
        """
        if (served := self.name_of(name)) is not None:
            return self.engines[served]
        name = name if len(name) <= _MAX_SHOWN else name[:_MAX_SHOWN] + "…"  # the search for similar names is slow
        near = difflib.get_close_matches(name, self._names, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        served = ", ".join(self._names) or "nothing"
        raise ModelNotFound(f"The model '{name}' is not served here.{hint} Served: {served}.", param="model")

    def name_of(self, name: str) -> str | None:
        """The model name that a request's model resolves to; None if it is not served."""
        for candidate in _candidates(name):
            if candidate in self._names:
                return self.aliases.get(candidate, candidate)
        return None

    def entries(self) -> list[ModelEntry]:
        """An entry for every name that a client may use, models first."""
        return [self.entry(name) for name in self._names]

    def entry(self, name: str) -> ModelEntry:
        info = self.find(name).info
        return ModelEntry(
            id=name,
            created=info.created,
            context_length=info.context_length,
            root=info.name,
        )


def _candidates(name: str) -> list[str]:
    """The names that a request's model may refer to, in order of preference."""
    bare = name.partition("#")[0]
    short = bare.partition("/models/")[2] if bare.startswith("accounts/") else ""
    return [candidate for candidate in (name, bare, short) if candidate]


class ModelEntry(msgspec.Struct, kw_only=True):
    id: str
    object: str = "model"
    created: int
    owned_by: str = "crossette"
    context_length: int
    root: str
    """The name of the model: differs from `id` for an alias."""


class ModelList(msgspec.Struct, kw_only=True):
    object: str = "list"
    data: list[ModelEntry]


async def list_models(request: Request, models: ServedModels) -> Response:
    return json_response(ModelList(data=models.only(Exchange.of(request.scope).caller.models).entries()))


async def retrieve_model(request: Request, models: ServedModels) -> Response:
    return json_response(models.only(Exchange.of(request.scope).caller.models).entry(request.path_params["name"]))
