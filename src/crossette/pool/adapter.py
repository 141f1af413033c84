"""An adapter of a model: a name of its own over a model that is loaded for both."""

from __future__ import annotations

from dataclasses import dataclass, replace

from crossette.engine import AnyEngine, ModelInfo
from crossette.pool.model import ModelSource, ModelState, PooledModel


@dataclass(frozen=True, eq=False)
class AdapterModel:
    """What is served under an adapter's name. Its state is that of its base, and loading it loads the base."""

    name: str
    base: PooledModel

    @property
    def info(self) -> ModelInfo:
        return replace(self.base.info, name=self.name)

    @property
    def source(self) -> ModelSource:
        return self.base.source

    @property
    def state(self) -> ModelState:
        return self.base.state

    @property
    def engine(self) -> AnyEngine | None:
        return self.base.engine

    @property
    def error(self) -> str:
        return self.base.error

    @property
    def num_users(self) -> int:
        return self.base.num_users

    @property
    def load_s(self) -> float | None:
        return self.base.load_s
