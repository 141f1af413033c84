"""The LoRA adapters of a server: from flags and tables to the models that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossette.errors import ConfigError
from crossette.models.adapters import ADAPTER_FILES
from crossette.server.settings import Settings

if TYPE_CHECKING:
    from crossette.server.served import Served

_KEYS = frozenset({"adapter", "base", "alias"})
"""The keys of an adapter's table: all others are settings of its base."""


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """An adapter that is served under `name`."""

    name: str
    folder: Path
    alias: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return sum((self.folder / name).stat().st_size for name in ADAPTER_FILES)


@dataclass(frozen=True, slots=True)
class _Given:
    """An adapter as the settings name it; `base` is "" for the first model."""

    name: str
    base: str
    reference: str
    alias: tuple[str, ...] = ()


def is_adapter(table: Mapping[str, Any]) -> bool:
    """Whether a table `[models.NAME]` is that of an adapter."""
    return bool(table.get("adapter"))


def with_adapters(chosen: Sequence[Served], settings: Settings, find: Callable[[str], Path]) -> list[Served]:
    """The models with their adapters; `find` is the folder of a reference. Raises ModelError or ConfigError."""
    models = {served.name: served for served in chosen}
    taken = set(models)
    for given in _given(settings):
        if given.name in taken:
            raise ConfigError(f"A model and an adapter, or two adapters, have the name {given.name!r}. Rename one.")
        taken.add(given.name)
        base = _base(given, chosen, models)
        adapter = ServedAdapter(given.name, find(given.reference), given.alias)
        models[base] = replace(models[base], adapters=(*models[base].adapters, adapter))
    return list(models.values())


def _given(settings: Settings) -> list[_Given]:
    found = [_parsed(text) for text in settings.server.adapter]
    for name, table in settings.models.items():
        if is_adapter(table):
            if other := sorted(table.keys() - _KEYS):
                raise ConfigError(
                    f"[models.{name}] is an adapter and sets {', '.join(other)}. An adapter has only"
                    f" {', '.join(sorted(_KEYS))}: the rest belongs into the table of its base."
                )
            found.append(_Given(name, table.get("base", ""), table["adapter"], tuple(table.get("alias", ()))))
        elif "base" in table:
            raise ConfigError(f"[models.{name}] has a base, but no adapter. Give it adapter = the folder of one.")
    return found


def _parsed(text: str) -> _Given:
    names, _, reference = text.partition("=")
    name, _, base = names.partition("@")
    if not name or not reference:
        raise ConfigError(f"--adapter {text!r} must be NAME=FOLDER, NAME=hf:ORG/REPO, or NAME@BASE=… for another base.")
    return _Given(name, base, reference)


def _base(given: _Given, chosen: Sequence[Served], models: Mapping[str, Served]) -> str:
    """The name of an adapter's base. Raises ConfigError for one that can have none."""
    name = given.base or (chosen[0].name if chosen else "")
    base = models.get(name)
    if base is None:
        raise ConfigError(
            f"The base of the adapter {given.name!r} is {name!r}, which is not served. Served: {', '.join(models)}."
        )
    if base.settings.engine != "openvino":
        raise ConfigError(
            f"The base of the adapter {given.name!r} is {name!r}, which runs on {base.settings.engine}. Adapters are"
            " for models of the engine 'openvino'."
        )
    if not base.generates:
        raise ConfigError(f"The base of the adapter {given.name!r} is {name!r}, an embedding model, which has none.")
    return name
