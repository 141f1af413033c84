"""Served models, their names and aliases."""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from copy import copy

from crossette.errors import ConfigError, ModelNotFound, Unsupported
from crossette.pool.adapter import AdapterModel
from crossette.pool.model import ModelSource, PooledModel
from crossette.pool.pool import ModelPool
from crossette.remote.model import RemoteModel

LocalModel = PooledModel | AdapterModel
"""A model that this server loads, or an adapter of one."""
ServedModel = LocalModel | RemoteModel

_MAX_SHOWN = 200
"""Maximum characters of a model's name in an error message. The search for similar names is slow."""
_MAX_LISTED = 20
"""Maximum names in an error message."""
_PREFIX = re.compile("^(?:accounts/[^/]+/(?:models|deployments|routers)|fireworks|openai|models)/", re.IGNORECASE)
"""What clients put before a name: Fireworks' resource names, and the names of providers and of Gemini's API."""
_MAX_PREFIXES = 2


class ServedModels:
    """The models of a pool and of other servers, and their aliases.

    Raises ConfigError for an alias of a model that is not served.
    """

    def __init__(
        self,
        pool: ModelPool,
        aliases: Mapping[str, str] | None = None,
        remotes: Mapping[str, RemoteModel] | None = None,
    ) -> None:
        self.pool = pool
        self.remotes = dict(remotes or {})
        """The models that other servers run."""
        self.by_name: dict[str, ServedModel] = {**pool.models, **pool.adapters, **self.remotes}
        self.aliases = dict(aliases or {})
        for alias, target in self.aliases.items():
            if target not in self.by_name:
                raise ConfigError(
                    f"--alias {alias}={target}: {target} is not served. Served: {', '.join(self.by_name) or 'nothing'}."
                )

        self._names: dict[str, None] = {}
        self._by_case: dict[str, list[str]] = defaultdict(list)
        self._allowed: frozenset[str] = frozenset()
        self._add((*self.by_name, *self.aliases))

    def add(self, source: ModelSource) -> None:
        """Serve another model as well; has no effect if its name is served already."""
        if source.name not in self._names:
            self.by_name[source.name] = self.pool.add(source)
            self._add((source.name,))

    def remove(self, name: str) -> None:
        """Serve a model no longer, nor its aliases. It must not be in memory, or in use."""
        self.pool.remove(name)
        del self.by_name[name]
        for known in (name, *(alias for alias, target in self.aliases.items() if target == name)):
            self.aliases.pop(known, None)
            del self._names[known]
            self._by_case[known.casefold()].remove(known)
        self._allowed = frozenset(self._names)

    def _add(self, names: Iterable[str]) -> None:
        for name in dict.fromkeys(names):
            self._names[name] = None
            self._by_case[name.casefold()].append(name)
        self._allowed = frozenset(self._names)

    def only(self, names: frozenset[str] | None) -> ServedModels:
        """These models restricted to `names` (None: all). A model's name includes its aliases.

        What a request's model refers to does not depend on it: a name that is served but not allowed is unknown.
        """
        if names is None:
            return self
        some = copy(self)
        some._allowed = frozenset(name for name in self.names() if not names.isdisjoint((name, self._target(name))))
        return some

    def find(self, name: str) -> ServedModel:
        """The model that a request names: a name or an alias, in any notation of `_candidates` and in any case.

        Raises ModelNotFound, listing what is served.
        """
        if (served := self.name_of(name)) is not None:
            return self.by_name[served]
        shown = name if len(name) <= _MAX_SHOWN else name[:_MAX_SHOWN] + "…"
        if several := self._matches(name):
            raise ModelNotFound(
                f"The model '{shown}' is ambiguous: it differs only in case from {' and '.join(several)}, which are "
                "different models. Use one of these names.",
                param="model",
            )
        hint = f" Did you mean {near}?" if (near := self._nearest(shown)) else ""
        raise ModelNotFound(
            f"The model '{shown}' is not served here.{hint} Served: {self._listed()}. "
            "A server that is started with --alias NAME=MODEL serves MODEL as NAME too.",
            param="model",
        )

    def name_of(self, name: str) -> str | None:
        """The model name that a request's model resolves to; None if it is not served, or ambiguous."""
        if name in self._allowed:
            return self._target(name)
        targets = set(map(self._target, self._matches(name)))
        return targets.pop() if len(targets) == 1 else None

    def _matches(self, name: str) -> list[str]:
        """The allowed names that a request's model refers to: several if it differs from each of them in case."""
        candidates = _candidates(name)
        for candidate in candidates:
            if candidate in self._names:
                return [candidate] if candidate in self._allowed else []
        for candidate in candidates:
            if same := self._by_case.get(candidate.casefold()):
                return [name for name in same if name in self._allowed]
        return []

    def _target(self, name: str) -> str:
        return self.aliases.get(name, name)

    def _nearest(self, name: str) -> str:
        """The most similar name, without regard to case; "" if none is similar."""
        wanted = (_candidates(name) or [name])[-1].casefold()
        names = {name.casefold(): name for name in self.names()}
        for part in (wanted, wanted.rpartition("/")[2]):
            if near := difflib.get_close_matches(part, names, n=1):
                return names[near[0]]
        return ""

    def _listed(self) -> str:
        names = self.names()
        more = f" and {len(names) - _MAX_LISTED} more in GET /models" if len(names) > _MAX_LISTED else ""
        return ", ".join(names[:_MAX_LISTED]) + more if names else "nothing"

    def abort(self) -> None:
        """Fail all running requests."""
        self.pool.close()
        for remote in self.remotes.values():
            remote.abort()

    async def close_remotes(self) -> None:
        """Close the connections to other servers."""
        for remote in self.remotes.values():
            await remote.aclose()

    def names(self) -> list[str]:
        """Every name that a client may use, models first."""
        return [name for name in self._names if name in self._allowed]


def check_generates(model: ServedModel, endpoint: str) -> None:
    """Raise Unsupported for an embedding model."""
    if not isinstance(model, RemoteModel) and model.info.embedding is not None:
        raise Unsupported(
            f"The model '{model.name}' is an embedding model: it computes vectors and generates no text. Send its texts"
            f" to {endpoint}, or choose a model that generates.",
            param="model",
        )


def local_model(model: ServedModel) -> LocalModel:
    """The model itself. Raises Unsupported for one of another server, which may compute no vectors."""
    if isinstance(model, RemoteModel):
        raise Unsupported(
            f"The model '{model.name}' is run by another server, and embeddings are not sent on. Choose an embedding"
            " model of this server.",
            param="model",
        )
    return model


def ranking_model(model: ServedModel) -> LocalModel:
    """The model itself if its vectors are made to be compared. Raises Unsupported for any other."""
    if not isinstance(model, RemoteModel) and model.info.embedding is None:
        raise Unsupported(
            f"The model '{model.name}' generates text: it was not trained to compare texts. Choose an embedding model:"
            " one has embedding_dimensions in the list of models.",
            param="model",
        )
    return local_model(model)


def _candidates(name: str) -> list[str]:
    """The names that a request's model may refer to, in order of preference: without deployment, without prefixes.

    `accounts/x/models/llama#x/d1` may be `accounts/x/models/llama` or `llama`.
    """
    candidates = [name, name.partition("#")[0]]
    for _ in range(_MAX_PREFIXES):
        candidates.append(_PREFIX.sub("", candidates[-1]))
    return [candidate for candidate in dict.fromkeys(candidates) if candidate]
