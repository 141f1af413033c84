"""Declaration of settings, next to the code that uses them, with a default and a `--help` text.

`config.py` reads them from flags, environment variables and the configuration file.
"""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Annotated, Any

from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
Amount = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Days = Annotated[int, Meta(ge=1, le=36_500)]
"""At most a hundred years, since dates before the year 1 do not exist."""
Share = Annotated[float, Meta(ge=0, le=1)]
"""A part of something, up to all of it."""
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
"""At most a year: timers do not accept infinity."""
Interval = Annotated[float, Meta(gt=0, le=31_536_000)]
"""Seconds, more than 0 and at most a year."""


class Panel(StrEnum):
    """The panels of `crossette serve --help`, in their order."""

    NETWORK = "Network"
    MODEL = "Model"
    ENGINE = "Engine"
    LIMITS = "Limits and timeouts"
    KEYS = "Keys and usage"
    FILES = "Files and batches"
    LOGS = "Logs and traces"


def setting(default: Any, help: str, *, metavar: str = "", unset: str = "", panel: Panel | None = None) -> Any:
    """A field of a frozen settings dataclass. A tuple as `default` makes the setting repeatable.

    In `--help`, `metavar` stands for the value, `unset` for a default that does not explain itself, and `panel`
    replaces the panel of the section.
    """
    metadata = {"help": help, "metavar": metavar, "unset": unset, "panel": panel}
    return dataclasses.field(default=default, metadata=metadata)


def section(declared: type, panel: Panel) -> Any:
    """A field of the settings tree: a section, and the panel of its settings in `--help`."""
    return dataclasses.field(default_factory=declared, metadata={"panel": panel})
