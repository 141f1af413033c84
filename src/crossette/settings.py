"""How a setting is declared: beside the code that uses it, once, with its default and a sentence for `--help`.

`config.py` makes flags, environment variables and keys of the configuration file of it.
"""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65535)]
Amount = Annotated[int, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
Days = Annotated[int, Meta(ge=1, le=36_500)]
"""A hundred years at most: before the year 1 there is no date."""
Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]
"""A year at most: no timer takes infinity."""
Interval = Annotated[float, Meta(gt=0, le=31_536_000)]
"""Seconds, more than none and a year at most."""


def setting(default: Any, help: str) -> Any:
    """A field of a frozen settings dataclass. `default` may be a tuple, for a setting that can be given repeatedly."""
    return dataclasses.field(default=default, metadata={"help": help})
