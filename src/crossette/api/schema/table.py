"""What a table of fields says, and how a body is held to it. The tables themselves are in `fields.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import msgspec

from crossette.api.dialect import Dialect
from crossette.errors import Unsupported
from crossette.types import Range, within

Neutral = tuple[Any, ...]
"""Values beside null that ask for nothing."""


class Words(str):
    """A default or a limit that is no value, in words."""

    __slots__ = ()


REQUIRED: Final = Words("required")


@dataclass(frozen=True, slots=True)
class Field:
    """What becomes of one field of a request."""

    note: str
    state: Literal["honoured", "recorded", "refused"] = "honoured"
    default: Any = None
    """What leaving it out means: a JSON value, `Words`, or a function of the dialect that gives one."""
    limits: Range | Callable[[Dialect], Range] | None = None
    """The least and the most: of a number, of a list's items, of a map's pairs."""
    engine: str | None = None
    """The field of `GenerationRequest` or `SamplingParams` that it becomes; None where no engine hears of it."""
    neutral: Neutral = ()
    """What a field that is refused may still be."""

    def default_in(self, dialect: Dialect) -> Any:
        return self.default(dialect) if callable(self.default) else self.default

    def limits_in(self, dialect: Dialect) -> Range | None:
        return self.limits(dialect) if callable(self.limits) else self.limits


class Table(Mapping[str, Field]):
    """The fields of a wire type by name. What a check of a body looks at is found once, when the table is made."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = dict(fields)
        self.refused = {name: field for name, field in fields.items() if field.state == "refused"}
        self.recorded = tuple(name for name, field in fields.items() if field.state == "recorded")
        self.limits = tuple((name, field.limits) for name, field in fields.items() if field.limits is not None)

    def __getitem__(self, name: str) -> Field:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


Refused: TypeAlias = Any
"""The wire type of a refused field: any value is read, and `refuse_unbuilt` judges it."""


def recorded(note: str, limits: Range | None = None) -> Field:
    """A field that changes nothing, and is told in the log."""
    return Field(note, "recorded", limits=limits)


def refused(note: str, *neutral: Any) -> Field:
    """A field that is taken where it is null or `neutral`, and refused by name otherwise."""
    return Field(note, "refused", neutral=neutral)


def refuse_unbuilt(body: msgspec.Struct, table: Table, path: str = "") -> None:
    """Raise Unsupported for the first refused field that asks for something."""
    for name, field in table.refused.items():
        value = getattr(body, name)
        if value is not None and not any(_same(value, other) for other in field.neutral):
            allowed = ", ".join(["null", *(msgspec.json.encode(other).decode() for other in field.neutral)])
            raise Unsupported(
                f"'{path}{name}' is not supported yet: leave it out, or send {allowed}.", param=f"{path}{name}"
            )


def check_limits(body: msgspec.Struct, table: Table, dialect: Dialect) -> None:
    """Raise InvalidRequest for the first number, list or map that is beyond its limits."""
    for name, limits_or_rule in table.limits:
        value = getattr(body, name)
        if value is None or isinstance(value, bool | str):
            continue
        limits = limits_or_rule(dialect) if callable(limits_or_rule) else limits_or_rule
        if isinstance(value, list | dict):
            within(f"the length of {name}", len(value), limits, param=name)
        else:
            within(name, value, limits)


def _same(value: Any, neutral: Any) -> bool:
    """Equal, and not by Python's habit of taking true for 1."""
    return isinstance(value, bool) == isinstance(neutral, bool) and bool(value == neutral)
