"""How many requests of batches run at once: as many as an engine has room for beside its live requests."""

from __future__ import annotations

from collections import Counter

from crossette.api.models import ServedModels
from crossette.pool.adapter import AdapterModel
from crossette.pool.model import PooledModel

_WIDTH = 8
"""Requests at once to a model of another server, whose width is not known, or to no model, which are errors."""
_UNBOUNDED = 64
"""Requests at once to an engine without a bound."""


class Slots:
    """The room for requests of all batches, by model. Called in the event loop's thread."""

    def __init__(self, models: ServedModels) -> None:
        self._models = models
        self._taken: Counter[str] = Counter()

    def take(self, model: str) -> bool:
        """Take a slot of a model, by any of its names; False if there is none now."""
        name = self._models.name_of(model) or ""
        if not self._has_room(name):
            return False
        self._taken[name] += 1
        return True

    def give_back(self, model: str) -> None:
        self._taken[self._models.name_of(model) or ""] -= 1

    def _has_room(self, name: str) -> bool:
        taken, model = self._taken[name], self._models.by_name.get(name)
        if isinstance(model, AdapterModel):  # it runs in the batch of its base
            model = model.base
        if not isinstance(model, PooledModel):
            return taken < _WIDTH
        if model.engine is None:  # the first request loads it, the others would only wait
            return taken == 0
        # A request that has taken a slot may not have reached its engine yet. What waits there goes first.
        stats = model.engine.stats()
        return max(taken, stats.running + stats.waiting) < (stats.max_sequences or _UNBOUNDED)
